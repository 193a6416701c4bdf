package loadtest

import "syscall"

// dieWithUs makes a child end with this process, whatever ends that.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
