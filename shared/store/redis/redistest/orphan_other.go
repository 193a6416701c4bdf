//go:build !linux

package redistest

import "syscall"

// withoutOrphans is for Linux only: elsewhere a server outlives a killed test.
func withoutOrphans() *syscall.SysProcAttr { return nil }
