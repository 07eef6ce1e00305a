package runner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// ExitError is the end of a command that did not end well: its exit code is this program's as well, and there is nothing to add to what it has said.
type ExitError struct{ Code int }

func (e ExitError) Error() string { return "" }

// ExitCode is the command's; 128 and the signal's number for one that a signal ended, as in a shell.
func (e ExitError) ExitCode() int { return e.Code }

// command is the user's process.
type command struct {
	cmd   *exec.Cmd
	group bool // it leads a process group of its own
	done  chan struct{}
	err   error // of Wait, once done is closed
}

// startCommand starts the user's command on this program's terminal or files. At a terminal it stays in the foreground's process group, or it could not read; the
// terminal then sends it Ctrl-C itself. It runs in dir, "" for this program's folder. Who it runs as is nil for this program's own user.
func startCommand(argv, env []string, dir string, who *syscall.Credential) (*command, error) {
	c := &command{cmd: exec.Command(argv[0], argv[1:]...), group: !isTerminal(os.Stdin), done: make(chan struct{})}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.cmd.Env, c.cmd.Dir = env, dir
	c.cmd.SysProcAttr = commandAttributes(c.group)
	c.cmd.SysProcAttr.Credential = who
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the command: %w", err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// end asks the command to end, after the grace kills it, and returns when it is gone.
func (c *command) end(grace time.Duration) {
	c.signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		c.signal(syscall.SIGKILL)
		<-c.done
	}
}

func (c *command) signal(sig syscall.Signal) {
	pid := c.cmd.Process.Pid
	if c.group {
		pid = -pid
	}
	_ = syscall.Kill(pid, sig) // one that has ended needs none
}

// result is nil for a command that ended well.
func (c *command) result() error {
	var exit *exec.ExitError
	if !errors.As(c.err, &exit) {
		return c.err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return ExitError{128 + int(status.Signal())}
	}
	return ExitError{exit.ExitCode()}
}
