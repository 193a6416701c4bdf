package cluster

import "syscall"

// dieWithUs makes a child end with this process, whatever ends that. A group
// of its own keeps a Ctrl-C in the terminal from reaching it before its turn.
func dieWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
