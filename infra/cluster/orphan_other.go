//go:build !linux

package cluster

import "syscall"

// dieWithUs is for Linux only; elsewhere a child may outlive a killed cluster.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
