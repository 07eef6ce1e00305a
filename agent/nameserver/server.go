package nameserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/pkg/lifecycle"
	"github.com/lateen-mesh/lateen/pkg/nametable"
)

// Port is where queries arrive, as in a pod of Istio's.
const Port = 15053

const (
	// maxConnections is how many clients may be connected over TCP at a time; more wait.
	maxConnections = 128
	// idleTimeout ends a connection that asks nothing, ioTimeout one that does not get on.
	idleTimeout = 8 * time.Second
	ioTimeout   = 2 * time.Second
	// maxQueries is how many queries are worked on at a time. One more is dropped: its client asks again.
	maxQueries = 1024
)

// Config of a server.
type Config struct {
	// Namespace and Domain of the workload ("shop", "shop.svc.cluster.local") say what short names stand for.
	Namespace, Domain string
	// Addresses to serve at. Default 127.0.0.1:15053, and [::1]:15053 where there is IPv6. They must be loopback's: a server that answers others would resolve whatever
	// they ask.
	Addresses []netip.AddrPort
	// ResolvConf names the system's name servers. Default /etc/resolv.conf.
	ResolvConf string
	Logger     *slog.Logger
}

// Server answers queries. Its methods may be called from any goroutine.
type Server struct {
	cfg      Config
	table    *table
	upstream *upstream
	busy     chan struct{}
	bound    []bound
}

// bound is the pair of sockets of an address.
type bound struct {
	udp net.PacketConn
	tcp net.Listener
}

// Listen opens the server's sockets. It answers once Run is called, which closes them.
func Listen(cfg Config) (*Server, error) {
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = "/etc/resolv.conf"
	}
	s := &Server{cfg: cfg, table: newTable(cfg.Namespace, cfg.Domain), upstream: newUpstream(cfg.ResolvConf, time.Now), busy: make(chan struct{}, maxQueries)}
	addresses, optional := cfg.Addresses, netip.Addr{}
	if addresses == nil {
		optional = netip.IPv6Loopback()
		addresses = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), Port), netip.AddrPortFrom(optional, Port)}
	}
	for _, at := range addresses {
		b, err := bind(at)
		if at.Addr() == optional && (errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT)) {
			continue
		}
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("serve DNS: %w", err)
		}
		s.bound = append(s.bound, b)
	}
	return s, nil
}

// bindTries is how many free ports are tried where any will do: one that is free for UDP may be taken for TCP.
const bindTries = 10

func bind(at netip.AddrPort) (b bound, err error) {
	if !at.Addr().IsLoopback() {
		return bound{}, fmt.Errorf("%s: want an address of loopback", at)
	}
	for range bindTries {
		if b, err = bindOnce(at); err == nil || at.Port() != 0 || !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return b, err
}

func bindOnce(at netip.AddrPort) (bound, error) {
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return bound{}, err
	}
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(at.Addr(), udp.LocalAddr().(*net.UDPAddr).AddrPort().Port())))
	if err != nil {
		udp.Close()
		return bound{}, err
	}
	return bound{udp, netutil.LimitListener(tcp, maxConnections)}, nil
}

// Close gives up the sockets of a server that is not to Run.
func (s *Server) Close() {
	for _, b := range s.bound {
		b.udp.Close()
		b.tcp.Close()
	}
}

// Addresses are where the server is.
func (s *Server) Addresses() []netip.AddrPort {
	var out []netip.AddrPort
	for _, b := range s.bound {
		out = append(out, b.udp.LocalAddr().(*net.UDPAddr).AddrPort())
	}
	return out
}

// Set takes what the control plane tells: the resources that changed, by name, and the names of those that are gone.
func (s *Server) Set(changed map[string]*nametable.Table, gone []string) { s.table.set(changed, gone) }

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	g := lifecycle.NewGroup(ctx)
	for _, b := range s.bound {
		for _, srv := range []*dns.Server{
			{PacketConn: b.udp, UDPSize: largestUDP, Handler: s.handler(ctx, "udp")},
			{Listener: b.tcp, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout, IdleTimeout: func() time.Duration { return idleTimeout }, Handler: s.handler(ctx, "tcp")},
		} {
			started := make(chan struct{})
			srv.NotifyStartedFunc = func() { close(started) }
			ended := make(chan error, 1)
			g.Go("answer DNS", func(context.Context) error {
				err := srv.ActivateAndServe()
				ended <- err
				return err
			})
			g.Go("end DNS", func(ctx context.Context) error {
				select {
				case <-started:
				case err := <-ended:
					return err
				}
				select {
				case <-ctx.Done():
					return srv.Shutdown() // it waits for the queries that are worked on, which ctx ends
				case err := <-ended:
					return err
				}
			})
		}
	}
	return g.Wait()
}

// handler answers what came by a network. What cannot be read, is no query or has not one question the library has refused.
func (s *Server) handler(ctx context.Context, network string) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		select {
		case s.busy <- struct{}{}:
			defer func() { <-s.busy }()
		default:
			return
		}
		m := s.respond(ctx, network, q)
		fit(m, q, network == "udp")
		if err := w.WriteMsg(m); err != nil {
			s.cfg.Logger.Debug("a DNS client did not take its answer", "client", w.RemoteAddr(), "error", err)
		}
	})
}

// respond returns the response to a query.
func (s *Server) respond(ctx context.Context, network string, q *dns.Msg) *dns.Msg {
	if q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 {
		return failure(q, dns.RcodeNotImplemented)
	}
	if o := q.IsEdns0(); o != nil && o.Version() != 0 {
		return failure(q, dns.RcodeBadVers) // RFC 6891, section 6.1.3
	}
	switch question := q.Question[0]; question.Qtype {
	case dns.TypeAXFR, dns.TypeIXFR:
		return failure(q, dns.RcodeRefused)
	}
	m := s.table.answer(q, s.upstream.search(), func(list []netip.Addr) {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	})
	if m != nil {
		return m
	}
	m, err := s.upstream.forward(ctx, network, q)
	if err != nil {
		s.cfg.Logger.Debug("a DNS query found no answer", "name", q.Question[0].Name, "error", err)
	}
	if m == nil {
		return failure(q, dns.RcodeServerFailure)
	}
	return m
}
