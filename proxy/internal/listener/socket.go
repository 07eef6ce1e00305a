package listener

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

const (
	soReusePort = 15
	backlog     = 4096 // the system caps it at net.core.somaxconn
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
		if err := l.bind(a); err != nil {
			for _, list := range l.sockets {
				for _, s := range list {
					_ = syscall.Close(s.sys)
				}
			}
			l.sockets = nil
			return fmt.Errorf("listener %q: %w", cfg.Name, err)
		}
	}
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
	for i, s := range l.sockets[0] {
		a := addresses(l.config.Load().res)[i]
		if s.path == "" && a.Port == 0 {
			if sa, err := syscall.Getsockname(s.sys); err == nil {
				a.Port = conn.AddrPort(sa).Port()
			}
		}
		out = append(out, a)
	}
	return out
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
		if a.Pipe != "" && a.Pipe[0] != '@' && l.sockets != nil {
			_ = os.Remove(a.Pipe)
		}
	}
}

// bind makes the sockets of one address, one for each worker.
func (l *Listener) bind(a xdsresource.Address) error {
	if a.Pipe != "" {
		return l.bindPipe(a.Pipe)
	}
	if !a.IP.IsValid() {
		return fmt.Errorf("address %s is no IP address", a.Host)
	}
	ap := netip.AddrPortFrom(a.IP.Unmap(), a.Port)
	if !l.o.ShareAddress && ap.Port() != 0 {
		// Without SO_REUSEPORT binding fails when anybody listens there; with it, it would
		// share the address with another proxy of the same user.
		probe, err := bindIP(ap, false)
		if err != nil {
			return bindError(ap.String(), err)
		}
		_ = syscall.Close(probe)
	}
	for i, w := range l.workers {
		fd, err := bindIP(ap, true)
		if err != nil {
			return bindError(ap.String(), err)
		}
		s := &socket{w: w, sys: fd}
		l.sockets[i] = append(l.sockets[i], s)
		if err := syscall.Listen(fd, backlog); err != nil {
			return bindError(ap.String(), err)
		}
		if ap.Port() == 0 {
			sa, err := syscall.Getsockname(fd)
			if err != nil {
				return bindError(ap.String(), err)
			}
			ap = conn.AddrPort(sa) // the other workers share the port that was chosen
		}
		if !ap.Addr().IsUnspecified() {
			s.local = ap
		}
	}
	return nil
}

func bindIP(ap netip.AddrPort, reusePort bool) (int, error) {
	sa, family := conn.Sockaddr(ap)
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	set := func(level, opt, v int) { err = errors.Join(err, syscall.SetsockoptInt(fd, level, opt, v)) }
	set(syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if reusePort {
		set(syscall.SOL_SOCKET, soReusePort, 1)
	}
	set(syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1) // accepted sockets inherit it
	if family == syscall.AF_INET6 {
		set(syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 1)
	}
	if err == nil {
		err = syscall.Bind(fd, sa)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bindPipe makes one Unix socket; the workers share it.
func (l *Listener) bindPipe(path string) error {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return bindError(path, err)
	}
	if path[0] != '@' {
		if err := removeStale(path); err != nil {
			_ = syscall.Close(fd)
			return err
		}
	}
	if err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err == nil {
		err = syscall.Listen(fd, backlog)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return bindError(path, err)
	}
	for i, w := range l.workers {
		if i > 0 {
			r, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
			if e != 0 {
				return bindError(path, e)
			}
			fd = int(r)
		}
		l.sockets[i] = append(l.sockets[i], &socket{w: w, sys: fd, path: path})
	}
	return nil
}

// removeStale removes a socket file that nobody listens on any more.
func removeStale(path string) error {
	st, err := os.Stat(path)
	if err != nil || st.Mode()&os.ModeSocket == 0 {
		return nil // bind says what is wrong
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return bindError(path, err)
	}
	defer syscall.Close(fd)
	if syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}) == syscall.ECONNREFUSED {
		return os.Remove(path)
	}
	return nil
}

// bindError says what is in the way, and what to do.
func bindError(addr string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "another program listens there: stop it, or give this listener another address"
		if _, port, ok := cutPort(addr); ok {
			hint = fmt.Sprintf("another program listens there (ss -ltnp 'sport = :%s' names it): stop it, or give this listener another address", port)
		}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "this machine has no such address: correct it, or use 0.0.0.0"
	case errors.Is(err, syscall.EACCES):
		hint = "ports below net.ipv4.ip_unprivileged_port_start need root or CAP_NET_BIND_SERVICE: use a higher port, or grant it"
		if strings.HasPrefix(addr, "/") {
			hint = "the folder is not writable for this user"
		}
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		hint = "raise the limit on open files (ulimit -n)"
	}
	if hint == "" {
		return fmt.Errorf("cannot listen on %s: %w", addr, err)
	}
	return fmt.Errorf("cannot listen on %s: %w; %s", addr, err, hint)
}

func cutPort(addr string) (host, port string, ok bool) {
	i := strings.LastIndexByte(addr, ':')
	if i < 0 {
		return "", "", false
	}
	return addr[:i], addr[i+1:], true
}
