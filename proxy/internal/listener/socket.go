package listener

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// socket is one listening descriptor of one worker.
type socket struct {
	w     *worker
	fd    eventloop.FD
	sys   int
	local netip.AddrPort // invalid when connections' own end must be asked for
	path  string
	again eventloop.Timer // tries anew after a lack of descriptors
}

func addresses(cfg *xdsresource.Listener) []xdsresource.Address {
	return append([]xdsresource.Address{cfg.Address}, cfg.Addresses...)
}

func addressText(a xdsresource.Address) string {
	if a.Pipe != "" {
		return a.Pipe
	}
	return netip.AddrPortFrom(a.IP, a.Port).String()
}

// Start binds the addresses and begins to accept on all workers. On error nothing is bound.
func (l *Listener) Start() error {
	cfg := l.config.Load().res
	if !cfg.BindToPort {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sockets = make([][]*socket, len(l.workers))
	for _, a := range addresses(cfg) {
		if err := l.bind(a, &cfg.Socket); err != nil {
			for _, list := range l.sockets {
				for _, s := range list {
					_ = syscall.Close(s.sys)
				}
			}
			l.sockets = nil
			return fmt.Errorf("listener %q: %w", cfg.Name, err)
		}
	}
	l.adopt(cfg)
	for i, w := range l.workers {
		socks := l.sockets[i]
		if !w.loop.Post(func() { w.listen(socks) }) {
			for _, s := range socks {
				_ = syscall.Close(s.sys)
			}
		}
	}
	return nil
}

// Addrs returns what is bound, with the ports that the system chose.
func (l *Listener) Addrs() []xdsresource.Address {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sockets) == 0 {
		return nil
	}
	var out []xdsresource.Address
	for i, a := range addresses(l.config.Load().res) { // what was adopted stands behind them
		s := l.sockets[0][i]
		if s.path == "" && a.Port == 0 {
			if sa, err := syscall.Getsockname(s.sys); err == nil {
				a.Port = conn.AddrPort(sa).Port()
			}
		}
		out = append(out, a)
	}
	return out
}

// Descriptor returns a copy of a worker's socket for an address of the configuration, for another
// process; -1: there is none. From then on the socket file of a Unix socket is the other process's.
func (l *Listener) Descriptor(a xdsresource.Address, worker int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped || worker < 0 || len(l.sockets) == 0 {
		return -1
	}
	for i, own := range addresses(l.config.Load().res) {
		if own.Pipe != a.Pipe || own.IP != a.IP || own.Port != a.Port {
			continue
		}
		sys := l.socketOf(i, worker)
		if sys < 0 {
			return -1
		}
		fd, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(sys), syscall.F_DUPFD_CLOEXEC, 0)
		if e != 0 {
			return -1
		}
		l.handed = true
		return int(fd)
	}
	return -1
}

// socketOf returns the descriptor of a worker for an address; behind the workers come the adopted
// ones.
func (l *Listener) socketOf(address, worker int) int {
	if worker < len(l.sockets) {
		return l.sockets[worker][address].sys
	}
	worker -= len(l.sockets)
	for _, x := range l.adopted {
		if x.address != address {
			continue
		}
		if worker == 0 {
			return x.fd
		}
		worker--
	}
	return -1
}

// Pause stops accepting for a while, or goes on; connections wait in the kernel's queue meanwhile.
func (l *Listener) Pause(yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped || l.config.Load().res.BypassOverload {
		return
	}
	want := eventloop.EventIn
	if yes {
		want = 0
	}
	for i, list := range l.sockets {
		w := l.workers[i]
		w.loop.Post(func() {
			for _, s := range list {
				if s.fd.Sys() >= 0 {
					w.loop.SetInterestNow(&s.fd, want)
				}
			}
		})
	}
}

// StopAccepting closes the sockets; connections go on.
func (l *Listener) StopAccepting() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return
	}
	l.stopped = true
	for i, list := range l.sockets {
		w := l.workers[i]
		w.loop.Post(func() {
			for _, s := range list {
				s.close()
			}
		})
	}
	for _, a := range addresses(l.config.Load().res) {
		if a.Pipe != "" && a.Pipe[0] != '@' && l.sockets != nil && !l.handed {
			_ = os.Remove(a.Pipe)
		}
	}
}
