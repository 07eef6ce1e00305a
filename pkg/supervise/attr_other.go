//go:build !linux

package supervise

import "syscall"

// childAttributes puts the child in a group of its own. Only Linux can tie its life to the supervisor's.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
