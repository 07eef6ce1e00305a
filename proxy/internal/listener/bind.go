package listener

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Numbers that package syscall lacks.
const (
	soReusePort     = 15
	ipTransparent   = 19
	ipFreebind      = 15
	ipv6Freebind    = 78
	ipv6Transparent = 75
	tcpFastOpen     = 23
	ipprotoMPTCP    = 262
)

// maxBacklog is what listen is asked for by default; the system caps it at net.core.somaxconn.
const maxBacklog = 4096

// bind makes the sockets of one address: one for each worker, or one that they share.
func (l *Listener) bind(a xdsresource.Address, opts *xdsresource.ListenerSocket) error {
	if a.Pipe == "" && !a.IP.IsValid() {
		return fmt.Errorf("address %s is no IP address", a.Host)
	}
	if a.Pipe != "" || opts.Shared {
		fd, err := l.open(a, a, opts, 0, false)
		if err != nil {
			return bindError(addressText(a), err)
		}
		return l.share(fd, a)
	}
	// Without SO_REUSEPORT binding fails when anybody listens there; with it, it would share
	// the address with another proxy of the same user.
	if !l.o.ShareAddress && a.Port != 0 && !l.inherits(a) {
		probe, err := bindIP(a, opts, false)
		if err != nil {
			return bindError(addressText(a), err)
		}
		_ = syscall.Close(probe)
	}
	asked := a
	for i, w := range l.workers {
		fd, err := l.open(asked, a, opts, i, true)
		if err != nil {
			return bindError(addressText(a), err)
		}
		l.sockets[i] = append(l.sockets[i], &socket{w: w, sys: fd})
		if a.Port == 0 {
			sa, err := syscall.Getsockname(fd)
			if err != nil {
				return bindError(addressText(a), err)
			}
			a.Port = conn.AddrPort(sa).Port() // the other workers share the port that was chosen
		}
		if !a.IP.IsUnspecified() {
			l.sockets[i][len(l.sockets[i])-1].local = netip.AddrPortFrom(a.IP.Unmap(), a.Port)
		}
	}
	return nil
}

// adopt takes over the sockets of workers that the process before this one had and this one has
// not: connections wait in their queues, too.
func (l *Listener) adopt(cfg *xdsresource.Listener) {
	if l.o.Inherited == nil || cfg.Socket.Shared {
		return
	}
	for n, a := range addresses(cfg) {
		for i := len(l.workers); a.Pipe == ""; i++ {
			fd := l.o.Inherited(cfg.Name, a, i, true)
			if fd < 0 {
				break
			}
			w := i % len(l.workers)
			s := &socket{w: l.workers[w], sys: fd}
			if !a.IP.IsUnspecified() {
				s.local = netip.AddrPortFrom(a.IP.Unmap(), a.Port)
			}
			l.sockets[w] = append(l.sockets[w], s)
			l.adopted = append(l.adopted, adopted{n, fd})
		}
	}
}

// adopted is a socket beyond those of the workers, which the next process must get, too.
type adopted struct{ address, fd int }

// inherits reports whether a process before this one hands the address over.
func (l *Listener) inherits(a xdsresource.Address) bool {
	return l.o.Inherited != nil && l.o.Inherited(l.Config().Name, a, 0, false) >= 0
}

// open takes a socket over from the process before this one, under the address that is configured,
// or makes it, with the port that was chosen.
func (l *Listener) open(asked, a xdsresource.Address, opts *xdsresource.ListenerSocket, worker int, own bool) (int, error) {
	if l.o.Inherited != nil {
		if fd := l.o.Inherited(l.Config().Name, asked, worker, true); fd >= 0 {
			return fd, nil
		}
	}
	var fd int
	var err error
	if a.Pipe != "" {
		fd, err = bindPipe(a, opts)
	} else {
		fd, err = bindIP(a, opts, own)
	}
	if err != nil {
		return -1, err
	}
	backlog := maxBacklog
	if opts.Backlog > 0 {
		backlog = int(min(opts.Backlog, 1<<20))
	}
	if err = syscall.Listen(fd, backlog); err == nil {
		err = conn.SetSocketOptions(fd, opts.Options, xdsresource.AfterListen)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

// share gives every worker a copy of one descriptor.
func (l *Listener) share(fd int, a xdsresource.Address) error {
	local := netip.AddrPort{}
	if a.Pipe == "" && !a.IP.IsUnspecified() {
		if sa, err := syscall.Getsockname(fd); err == nil {
			local = conn.AddrPort(sa)
		}
	}
	for i, w := range l.workers {
		if i > 0 {
			r, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
			if e != 0 {
				return bindError(addressText(a), e)
			}
			fd = int(r)
		}
		l.sockets[i] = append(l.sockets[i], &socket{w: w, sys: fd, path: a.Pipe, local: local})
	}
	return nil
}

func bindIP(a xdsresource.Address, opts *xdsresource.ListenerSocket, reusePort bool) (int, error) {
	sa, family := conn.Sockaddr(netip.AddrPortFrom(a.IP.Unmap(), a.Port))
	proto := 0
	if opts.MPTCP {
		proto = ipprotoMPTCP
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, err
	}
	set := func(what string, level, opt, v int) {
		if e := syscall.SetsockoptInt(fd, level, opt, v); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", what, e))
		}
	}
	set("SO_REUSEADDR", syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if reusePort {
		set("SO_REUSEPORT", syscall.SOL_SOCKET, soReusePort, 1)
	}
	set("TCP_NODELAY", syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1) // accepted sockets inherit it
	v6 := family == syscall.AF_INET6
	if v6 {
		only := 1
		if a.IPv4Too {
			only = 0
		}
		set("IPV6_V6ONLY", syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, only)
	}
	if opts.Freebind {
		set("IP_FREEBIND", syscall.IPPROTO_IP, ipFreebind, 1)
		if v6 {
			set("IPV6_FREEBIND", syscall.IPPROTO_IPV6, ipv6Freebind, 1)
		}
	}
	if opts.Transparent {
		set("IP_TRANSPARENT", syscall.IPPROTO_IP, ipTransparent, 1)
		if v6 {
			set("IPV6_TRANSPARENT", syscall.IPPROTO_IPV6, ipv6Transparent, 1)
		}
	}
	if opts.FastOpen != nil {
		set("TCP_FASTOPEN", syscall.IPPROTO_TCP, tcpFastOpen, int(min(*opts.FastOpen, 1<<20)))
	}
	if opts.Keepalive != nil {
		err = errors.Join(err, conn.SetKeepalive(fd, opts.Keepalive))
	}
	err = errors.Join(err, conn.SetSocketOptions(fd, opts.Options, xdsresource.BeforeBind))
	if err == nil {
		err = syscall.Bind(fd, sa)
	}
	if err == nil {
		err = conn.SetSocketOptions(fd, opts.Options, xdsresource.AfterBind)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

func bindPipe(a xdsresource.Address, opts *xdsresource.ListenerSocket) (int, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if a.Pipe[0] != '@' {
		err = removeStale(a.Pipe)
	}
	if err == nil {
		err = conn.SetSocketOptions(fd, opts.Options, xdsresource.BeforeBind)
	}
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: a.Pipe})
	}
	if err == nil && a.PipeMode != 0 && a.Pipe[0] != '@' {
		err = os.Chmod(a.Pipe, os.FileMode(a.PipeMode))
	}
	if err == nil {
		err = conn.SetSocketOptions(fd, opts.Options, xdsresource.AfterBind)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -1, err
	}
	return fd, nil
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
