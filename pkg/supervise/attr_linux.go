package supervise

import "syscall"

// childAttributes puts the child in a group of its own, so that it is ended with its children and a terminal's Ctrl-C reaches the
// supervisor alone, and has the kernel kill it when the supervisor is gone.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
