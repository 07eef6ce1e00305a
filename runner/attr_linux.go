package runner

import "syscall"

// commandAttributes has the kernel end the command when this program is gone, with or without a group of its own.
func commandAttributes(group bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: group, Pdeathsig: syscall.SIGTERM}
}
