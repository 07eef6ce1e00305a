package hotrestart

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
)

// Handler does what a child asks for. Its methods are called from one goroutine.
type Handler interface {
	// CloseAdmin gives up the admin API's address.
	CloseAdmin()
	// OpenAdmin takes it back: the child that asked for it has gone without asking for Drain.
	OpenAdmin()
	// Socket returns a copy of a worker's listening descriptor, which the caller closes; -1: none.
	Socket(listener, address string, worker int) int
	// Drain stops accepting and asks connections to end.
	Drain()
	// Counters are all counters by name, and how many connections are left.
	Counters() (map[string]uint64, int64)
	// Leave ends the process when its last connection has: the child that asked for Drain is gone
	// without asking for Terminate.
	Leave()
	// Terminate ends the process.
	Terminate()
}

// Name is the socket of a process: path comes from --socket-path.
func Name(path string, baseID, epoch uint32) string {
	return fmt.Sprintf("%s_%d_%d", path, baseID, epoch)
}

// Parent waits for a child.
type Parent struct {
	lis *net.UnixListener
	log *slog.Logger
}

// Listen opens the socket of this process. It fails when another process has the same base id and
// epoch.
func Listen(name string, log *slog.Logger) (*Parent, error) {
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("another process has this base id and restart epoch (%s): give --base-id another number, or --restart-epoch the next one", name)
	}
	if err != nil {
		return nil, fmt.Errorf("hot restart: %w", err)
	}
	return &Parent{lis: lis, log: log}, nil
}

// Run serves children until ctx ends.
func (p *Parent) Run(ctx context.Context, h Handler) {
	defer p.lis.Close()
	defer context.AfterFunc(ctx, func() { p.lis.Close() })()
	for {
		c, err := p.lis.AcceptUnix()
		if err != nil {
			return
		}
		// One child at a time: the next waits in the queue.
		p.serve(ctx, c, h)
	}
}

// Close frees a Parent that is never run.
func (p *Parent) Close() { p.lis.Close() }

func (p *Parent) serve(ctx context.Context, c *net.UnixConn, h Handler) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if err := sameUser(c); err != nil {
		p.log.Warn("refused a connection for a hand-over", "error", err)
		return
	}
	admin := false   // was given up, and the child does not serve yet
	drained := false // and not terminated
	defer func() {
		switch {
		case ctx.Err() != nil:
		case drained:
			p.log.Warn("the new process is gone: ending with the last connection")
			h.Leave()
		case admin:
			p.log.Warn("the new process is gone before it served: going on")
			h.OpenAdmin()
		}
	}()
	for {
		var q request
		stray, err := read(c, &q)
		if err != nil {
			return // the child is gone, or has what it wanted
		}
		if stray >= 0 { // nothing is asked for by one
			_ = syscall.Close(stray)
		}
		var r response
		fd := -1
		end := false
		switch q.Op {
		case opHello:
			if q.Version != Version {
				r.Error = fmt.Sprintf("the running process speaks version %d of the hand-over, the new one %d", Version, q.Version)
			}
		case opAdmin:
			h.CloseAdmin()
			admin = true
		case opSocket:
			fd = h.Socket(q.Listener, q.Address, q.Worker)
			r.Found = fd >= 0
		case opDrain:
			p.log.Info("a new process serves: draining")
			h.Drain()
			drained = true
		case opStats:
			r.Counters, r.Connections = h.Counters()
		case opTerminate:
			end, admin, drained = true, false, false
		default:
			r.Error = fmt.Sprintf("unknown operation %q", q.Op)
		}
		err = write(c, &r, fd)
		if fd >= 0 {
			_ = syscall.Close(fd)
		}
		if end {
			p.log.Info("the new process has taken over: ending")
			h.Terminate()
			return
		}
		if err != nil {
			p.log.Warn("a hand-over broke", "error", err)
			return
		}
	}
}

// sameUser refuses peers of other users: sockets in the abstract namespace have no permissions.
func sameUser(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *syscall.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if cerr != nil {
		return cerr
	}
	if int(cred.Uid) != syscall.Getuid() {
		return fmt.Errorf("process %d belongs to user %d", cred.Pid, cred.Uid)
	}
	return nil
}
