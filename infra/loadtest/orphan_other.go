//go:build !linux

package loadtest

import "syscall"

// dieWithUs is for Linux only; elsewhere a child may outlive a killed test.
func dieWithUs() *syscall.SysProcAttr { return nil }
