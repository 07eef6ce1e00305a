//go:build !linux

package runner

import "syscall"

// commandAttributes gives the command a group of its own where it is to have one. Only Linux can tie its life to this program's.
func commandAttributes(group bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: group} }
