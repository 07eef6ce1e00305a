package server

import (
	"context"
	"net/netip"
	"regexp"
	"sync"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Predecessor is the process that this one takes over from.
type Predecessor interface {
	// Socket returns the descriptor of a worker's socket; -1: there is none.
	Socket(listener, address string, worker int) (int, error)
}

// inheritance keeps the sockets that were fetched and not used yet.
type inheritance struct {
	from Predecessor
	mu   sync.Mutex
	fds  map[inheritedKey]int
}

type inheritedKey struct {
	listener, address string
	worker            int
}

// inherited returns what listeners are to be given as Options.Inherited; nil without a predecessor.
func (s *Server) inherited() func(string, xdsresource.Address, int, bool) int {
	if s.cfg.Predecessor == nil {
		return nil
	}
	return s.heir.socket
}

// socket fetches a descriptor, and hands it out once.
func (h *inheritance) socket(name string, a xdsresource.Address, worker int, take bool) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := inheritedKey{name, socketAddress(a), worker}
	fd, ok := h.fds[k]
	if !ok {
		var err error
		if fd, err = h.from.Socket(k.listener, k.address, worker); err != nil {
			fd = -1 // the predecessor is gone: what it had is bound anew
		}
		h.fds[k] = fd
	}
	if take && fd >= 0 {
		h.fds[k] = -1 // a second listener on the address binds for itself
	}
	return fd
}

func socketAddress(a xdsresource.Address) string {
	if a.Pipe != "" {
		return a.Pipe
	}
	return netip.AddrPortFrom(a.IP, a.Port).String()
}

// Descriptor returns a copy of a listening socket for the process after this one; -1: none. A port
// that the system chose is told apart by the listener's name.
func (s *Server) Descriptor(listener, address string, worker int) int {
	fd := -1
	s.control.call(func() {
		for name, v := range s.listeners.active {
			for _, a := range append([]xdsresource.Address{v.cfg.Address}, v.cfg.Addresses...) {
				if fd >= 0 || socketAddress(a) != address || a.Pipe == "" && a.Port == 0 && name != listener {
					continue
				}
				fd = v.l.Descriptor(a, worker)
			}
		}
	})
	return fd
}

// activeConnections is the gauge of all listeners' connections. Those of each listener stand there once more by worker.
var activeConnections = regexp.MustCompile(`^server\.total_connections$`)

// HandOver stops accepting and asks all connections to end: another process has the sockets.
func (s *Server) HandOver() {
	s.control.post(func() {
		for _, v := range s.listeners.active {
			v.l.StopAccepting()
			v.l.Drain(s.cfg.DrainTime, s.cfg.DrainImmediately)
		}
	})
}

// Counters are all counters by name, and how many downstream connections there are.
func (s *Server) Counters(ctx context.Context) (map[string]uint64, int64) {
	counters, err := s.stats.Counters(ctx)
	if err != nil {
		return nil, 0
	}
	n := int64(0)
	if snap, err := s.stats.Snapshot(ctx, stats.Query{Types: []stats.Kind{stats.KindGauge}, Filter: activeConnections}); err == nil {
		snap.Each(func(st stats.Stat) { n += st.Value })
	}
	return counters, n
}
