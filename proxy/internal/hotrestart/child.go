package hotrestart

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Child is the connection of a new process to the one before it. Its methods may be called from
// any goroutine.
type Child struct {
	mu sync.Mutex
	c  *net.UnixConn
}

// callTimeout bounds one message: a parent that hangs must not hold the new process up.
const callTimeout = 10 * time.Second

// Connect connects to the process of that name.
func Connect(name string) (*Child, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("hot restart: no process to take over from: %w", err)
	}
	ch := &Child{c: c}
	if err := sameUser(c); err != nil {
		c.Close()
		return nil, fmt.Errorf("hot restart: %w", err)
	}
	if _, _, err := ch.call(request{Op: opHello, Version: Version}); err != nil {
		c.Close()
		return nil, err
	}
	return ch, nil
}

func (c *Child) call(q request) (r response, fd int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.c.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return r, -1, err
	}
	if err := write(c.c, &q, -1); err != nil {
		return r, -1, fmt.Errorf("hot restart: %w", err)
	}
	if fd, err = read(c.c, &r); err != nil {
		return r, -1, fmt.Errorf("hot restart: %w", err)
	}
	if r.Error != "" {
		return r, fd, errors.New("hot restart: " + r.Error)
	}
	return r, fd, nil
}

// CloseAdmin asks for the admin API's address.
func (c *Child) CloseAdmin() error {
	_, _, err := c.call(request{Op: opAdmin})
	return err
}

// Socket fetches a worker's socket; -1: the parent has none.
func (c *Child) Socket(listener, address string, worker int) (int, error) {
	r, fd, err := c.call(request{Op: opSocket, Listener: listener, Address: address, Worker: worker})
	if err == nil && r.Found && fd < 0 {
		err = errors.New("hot restart: a descriptor was promised and did not come")
	}
	return fd, err
}

// Drain tells that this process serves.
func (c *Child) Drain() error {
	_, _, err := c.call(request{Op: opDrain})
	return err
}

// Counters fetches the parent's counters, and how many connections it has left.
func (c *Child) Counters() (map[string]uint64, int64, error) {
	r, _, err := c.call(request{Op: opStats})
	return r.Counters, r.Connections, err
}

// Terminate asks the parent to end.
func (c *Child) Terminate() error {
	_, _, err := c.call(request{Op: opTerminate})
	return err
}

// Close ends the connection; the parent goes on if it was not terminated.
func (c *Child) Close() { c.c.Close() }
