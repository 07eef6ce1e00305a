package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// maxLogBytes is the size beyond which a log file is set aside as FILE.1 when its process starts.
const maxLogBytes = 16 << 20

// threadSpawner starts every process from one operating system thread that lives as long as run: Linux sends the parent-death signal
// when the thread that started the child ends, not when the process does (prctl(2), PR_SET_PDEATHSIG).
type threadSpawner struct {
	requests chan startRequest
	stopped  chan struct{}
}

type startRequest struct {
	process Process
	reply   chan startReply
}

type startReply struct {
	child child
	err   error
}

func newThreadSpawner() *threadSpawner {
	return &threadSpawner{requests: make(chan startRequest), stopped: make(chan struct{})}
}

func (t *threadSpawner) run(ctx context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(t.stopped)
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-t.requests:
			c, err := startProcess(r.process)
			r.reply <- startReply{c, err}
		}
	}
}

func (t *threadSpawner) start(p Process) (child, error) {
	r := startRequest{process: p, reply: make(chan startReply, 1)}
	select {
	case t.requests <- r:
		reply := <-r.reply
		return reply.child, reply.err
	case <-t.stopped:
		return nil, errors.New("the supervisor has stopped")
	}
}

func startProcess(p Process) (child, error) {
	out, err := openLog(p.Log)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own descriptor
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Env, cmd.Dir = p.Env, p.Dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = childAttributes()
	// A grandchild that kept standard output would otherwise hold Wait for ever; output goes to a file, so nothing is lost.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return process{cmd}, nil
}

func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLogBytes {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("set aside the full log: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return f, nil
}

// process is a child that leads a process group of its own.
type process struct{ cmd *exec.Cmd }

func (p process) PID() int    { return p.cmd.Process.Pid }
func (p process) Wait() error { return p.cmd.Wait() }

func (p process) Signal(sig syscall.Signal) error {
	return syscall.Kill(-p.cmd.Process.Pid, sig)
}
