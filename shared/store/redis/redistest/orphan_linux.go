package redistest

import "syscall"

// withoutOrphans lets a server end with a test that was killed.
func withoutOrphans() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
