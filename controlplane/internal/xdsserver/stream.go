package xdsserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// message is a client's message with the node that the first one carries.
type message struct {
	node *corepb.Node
	req  request
}

func invalid(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(codes.InvalidArgument, err.Error())
}

// stream drives one session: the gRPC handler's goroutine receives, a second one sends.
type stream struct {
	server  *Server
	id      string // node id and a number, as Istio's connection ids
	proxy   *model.Proxy
	caller  spiffe.ID
	address string
	since   time.Time
	agent   bool          // it is the agent's beside the proxy: it is no proxy of its own
	wake    chan struct{} // one place: what matters is that something happened, not how often

	mu      sync.Mutex
	session *session
}

func (st *stream) wakeUp() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// serve runs a stream until the client or the server ends it.
func (s *Server) serve(g grpc.ServerStream, sotw bool, recv func() (message, error)) error {
	caller, err := s.caller(g.Context())
	if err != nil {
		s.log.Warn("xDS stream refused", "err", err)
		return status.Error(codes.Unauthenticated, err.Error())
	}
	leave, err := s.admit(g.Context(), caller)
	if err != nil {
		s.log.Warn("xDS stream refused", "caller", caller.String(), "err", err)
		return ended(err)
	}
	defer leave()
	recv = s.throttled(g.Context(), recv)
	first, err := s.firstOf(g, recv)
	if err != nil {
		return ended(err)
	}
	proxy, err := proxyOf(first.node, caller)
	if err != nil {
		s.log.Warn("xDS stream refused", "err", err)
		return err
	}
	// Virtual hosts can be asked for on delta streams alone; on others the proxy gets all there is
	// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds).
	// An agent's stream asks for no hosts, and what its proxy asked for is not to be forgotten with it.
	agent := agentType(first.req.typeURL)
	proxy.OnDemand = proxy.OnDemand && !sotw && !agent
	if s.opts.Begun != nil {
		select {
		case <-s.opts.Begun:
		case <-g.Context().Done():
			return ended(g.Context().Err())
		}
	}
	if s.opts.Registrar != nil {
		served, leave, err := s.opts.Registrar.Connect(g.Context(), proxy)
		if err != nil {
			s.log.Warn("xDS stream refused", "node", proxy.ID, "err", err)
			return status.Error(codes.FailedPrecondition, err.Error())
		}
		defer leave()
		proxy = served
	}
	now := s.opts.Now()
	cached := xdscache.NewProxy(proxy)
	if proxy.OnDemand {
		cached.Begin(s.names.Of(s.memory.of(proxy, now)))
	}
	st := &stream{
		server: s, id: fmt.Sprintf("%s-%d", proxy.ID, s.nextID.Add(1)), proxy: proxy, caller: caller, since: now,
		wake: make(chan struct{}, 1), session: newSession(cached, s.View(), sotw, &s.names, s.opts.AckTimeout, now),
		agent: agent,
	}
	if p, ok := peer.FromContext(g.Context()); ok {
		st.address = p.Addr.String()
	}
	s.add(st)
	defer s.remove(st)
	s.log.Info("ADS: new connection", "node", proxy.ID, "from", st.address, "delta", !sotw)

	ctx, cancel := context.WithCancel(g.Context())
	sent := make(chan error, 1)
	go func() { sent <- st.send(ctx, g) }()
	err = st.receive(first, recv)
	cancel()
	if sendErr := <-sent; err == nil {
		err = sendErr
	}
	if proxy.OnDemand {
		s.memory.note(proxy, cached.Asked().All(), s.opts.Now()) // until now
	}
	s.log.Info("ADS: connection ended", "node", proxy.ID, "err", err)
	return err
}

// caller authenticates what comes over TLS. The plaintext listener proves nothing and serves whoever reaches it.
func (s *Server) caller(ctx context.Context) (spiffe.ID, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return spiffe.ID{}, errors.New("the connection has no peer")
	}
	if _, tls := p.AuthInfo.(credentials.TLSInfo); !tls {
		return spiffe.ID{}, nil
	}
	return s.opts.Authenticate(ctx)
}

func (s *Server) add(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[st] = struct{}{}
	if !st.agent { // which is beside a proxy that is counted
		s.metrics.streams.WithLabelValues(st.proxy.IstioVersion).Inc()
	}
}

func (s *Server) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	if !st.agent {
		s.metrics.streams.WithLabelValues(st.proxy.IstioVersion).Dec()
	}
}

// receive takes requests until the stream ends. nil means that the client ended it.
func (st *stream) receive(m message, recv func() (message, error)) error {
	for {
		if err := st.take(m.req); err != nil {
			return invalid(err)
		}
		st.wakeUp()
		var err error
		if m, err = recv(); err != nil {
			return ended(err)
		}
	}
}

func (st *stream) take(req request) error {
	if req.typeURL == TypeHealth {
		if st.server.opts.Registrar != nil {
			st.server.opts.Registrar.Health(st.proxy, req.refusal == "", req.refusal)
		}
		return nil
	}
	if req.refusal != "" {
		st.server.metrics.reject(req.typeURL)
		st.server.log.Warn("ADS: the proxy refused a response", "node", st.proxy.ID, "type", req.typeURL, "nonce", req.nonce, "err", req.refusal)
	}
	if req.typeURL == TypeHost && st.proxy.OnDemand {
		st.server.memory.note(st.proxy, req.subscribe, st.server.opts.Now())
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	before := st.session.expired
	err := st.session.request(req)
	if st.session.expired != before {
		st.server.metrics.expired.WithLabelValues(shortType(req.typeURL)).Inc()
	}
	return err
}

// send sends whatever may be sent until the stream ends.
func (st *stream) send(ctx context.Context, g grpc.ServerStream) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		r, wait, err := st.next(ctx)
		if err != nil {
			return nil // the stream has ended
		}
		if r != nil {
			f := r.encode(st.server.identifier)
			begin := time.Now()
			if err := g.SendMsg(f); err != nil {
				if err = ended(err); err != nil && ctx.Err() == nil && status.Code(err) != codes.Unavailable {
					st.server.metrics.notSent(r.watch.typeURL)
				}
				return err
			}
			st.server.metrics.sent(r.watch.typeURL, f.size, r.workedOut, time.Since(begin))
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-st.wake:
		case <-timer.C:
		}
	}
}

// next returns the next response, or how long to wait at most if nothing happens.
func (st *stream) next(ctx context.Context) (*response, time.Duration, error) {
	select {
	case st.server.slots <- struct{}{}:
		defer func() { <-st.server.slots }()
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	latest := st.server.view.Load()
	now, begin := st.server.opts.Now(), time.Now()
	st.mu.Lock()
	defer st.mu.Unlock()
	if latest.view.Version() > st.session.latest.Version() && latest.at.After(st.since) {
		st.server.metrics.queueTime.Observe(now.Sub(latest.at).Seconds())
	}
	st.session.offer(latest.view)
	served := st.session.served
	r := st.session.send(now)
	if r != nil {
		r.workedOut = time.Since(begin)
	}
	if st.session.served != served && st.session.served == latest.view.Version() && latest.at.After(st.since) {
		st.server.metrics.convergence.Observe(now.Sub(latest.at).Seconds())
	}
	wait := time.Hour
	if at, ok := st.session.deadline(now); ok {
		wait = at.Sub(now)
	}
	return r, wait, nil
}

// ended turns the ways in which a client goes away into no error.
func ended(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}
