package runner

import (
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal says whether the file is a terminal, which has a process group in the foreground; /dev/null has none.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil
}
