package tcpproxy

import (
	"errors"
	"net/netip"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// reportEvery is Istio's tcp_reporting_duration.
const reportEvery = 15 * time.Second

// session is one proxied connection; it is the downstream connection's handler, and upstream
// (the same object by another name) is the upstream connection's.
type session struct {
	p      *Proxy
	loop   *eventloop.Loop
	shard  *stats.Shard
	down   *conn.Conn
	up     *conn.Conn // the current attempt; nil before and between, and where there is a tunnel
	tunnel *tunnel    // nil: bytes go upstream as they are

	cluster *cluster.Local     // that of the route
	local   *cluster.Local     // that of the host: another one below an aggregate
	host    *cluster.LocalHost // of the current attempt
	subset  *xdsresource.MetadataMatch

	info     streaminfo.Info
	meter    Meter
	tried    []*lb.Load
	upOpen   bool
	pending  bool // the attempt waits for its connection
	upEnded  bool // upstream was told that downstream has ended
	upRemote bool // and ended after that itself, or failed
	readDown bool // the client's proxy is to say who it is
	readUp   bool // the server's proxy is
	met      bool // the meter was told that the connection is open
	ended    bool // finish was called
	cxHeld   bool // a connection of the breaker
	silent   bool // the client is to speak before there is a host (upstream_connect_mode)
	heard    bool // the client has spoken before there was a host, which is counted
	leaving  bool // the listener drains, and check_drain_close is set
	idle     eventloop.Timer
	backOff  eventloop.Timer

	idleTimeout time.Duration
	duration    eventloop.Timer
	report      eventloop.Timer
	entries     *eventloop.Timer // nil: access logs have no entries now and then
	demand      *demand          // nil: no cluster is waited for
}

func (s *session) count(i int, n uint64) { s.shard.Add(s.p.stats.Counter(i), n) }

// begin starts the session: nothing is read from downstream before upstream is there.
func (s *session) begin() {
	s.down.SetHandler(s)
	if !s.p.cfg.EarlyData {
		s.down.PauseRead()
	}
	s.count(cxTotal, 1)
	info := s.down.Info()
	s.info = streaminfo.Info{
		StartWall: s.loop.WallNow(), Start: s.loop.Now(), Downstream: info, ConnectionID: info.ID, Metadata: info.Metadata,
	}
	s.idleTimeout = s.p.cfg.IdleTimeout
	if o := info.State.Get(filterstate.TCPIdleTimeoutMs); o != nil {
		if ms, err := strconv.ParseUint(o.String(), 10, 32); err == nil {
			s.idleTimeout = time.Duration(ms) * time.Millisecond
		}
	}
	if s.p.d.NewMeter != nil {
		s.meter = s.p.d.NewMeter(s.loop.ID(), &s.info)
		s.report.Init(s.onReport)
	}
	if d := s.p.cfg.MaxDownstreamConnectionDuration; d > 0 {
		s.duration.Init(s.onMaxDuration)
		s.loop.Arm(&s.duration, s.p.jittered(d, s.loop.Rand()))
	}
	s.logEarly()
	if s.silent = s.p.cfg.ConnectOnData; s.silent {
		s.armIdle() // of a client that never speaks; Envoy has none for it
		return
	}
	s.start()
}

// start chooses the cluster, and connects.
func (s *session) start() {
	s.info.UpstreamCluster, s.subset = s.p.target(s.loop.Rand())
	if o := s.down.Info().State.Get(filterstate.TCPProxyCluster); o != nil { // a filter before this one knows better
		s.info.UpstreamCluster = o.String()
	}
	s.lookUp()
}

// lookUp finds the cluster.
func (s *session) lookUp() {
	s.cluster = s.p.d.Clusters.Local(s.loop.ID()).Get(s.info.UpstreamCluster)
	if s.local = s.cluster; s.local == nil {
		if s.ask() {
			return
		}
		s.count(cxNoRoute, 1)
		s.info.UpstreamCluster = ""
		s.refuse(streaminfo.NoClusterFound)
		return
	}
	s.info.Cluster = s.local.Config()
	s.connect()
}

// destination is where the session goes in a cluster of ORIGINAL_DST: where a filter says, else where
// the connection was going.
func (s *session) destination() netip.AddrPort {
	info := s.down.Info()
	if path := s.cluster.Config().OriginalDstMetadata; path != nil {
		if a := s.cluster.Destination(info.Metadata, path); a.IsValid() {
			return a
		}
	}
	return info.OriginalDst
}

// name is by which name, and at which port, the session finds its host in a dynamic forward proxy cluster: what a filter has left, or else
// the name that the client asks for.
func (s *session) name() ([]byte, uint16) {
	info := s.down.Info()
	host := info.SNI
	if o := info.State.Get(filterstate.UpstreamDynamicHost); o != nil {
		host = o.String()
	}
	return []byte(host), filterstate.Port(info.State.Get(filterstate.UpstreamDynamicPort))
}

// refusals are why a session never began, as Envoy writes it (LocalCloseReasons, spelled as there).
var refusals = map[streaminfo.Flags]string{
	streaminfo.UpstreamRetryLimitExceeded: "tcp_initializion_failure:0",
	streaminfo.UpstreamConnectionFailure:  "tcp_initializion_failure:0",
	streaminfo.NoHealthyUpstream:          "tcp_initializion_failure:1",
	streaminfo.UpstreamOverflow:           "tcp_initializion_failure:2",
	streaminfo.NoClusterFound:             "tcp_initializion_failure:3",
}

// refuse ends a session that has no upstream. A reset tells the client at once that nothing
// of what it sent was taken.
func (s *session) refuse(f streaminfo.Flags) {
	s.info.Set(f)
	s.info.DownstreamCloseReason = refusals[f]
	s.down.Close(conn.CloseReset)
}

// connect makes an attempt.
func (s *session) connect() {
	ctx := lb.Context{Rand: s.loop.Rand(), Avoid: s.tried, Attempts: len(s.tried), OriginalDst: s.destination(), Subset: s.subset, Hasher: s}
	if t := s.cluster.Config().Type; t == xdsresource.ClusterDynamic || t == xdsresource.ClusterAggregate {
		ctx.Authority, ctx.Port = s.name()
	}
	if len(s.p.cfg.Hash) > 0 {
		ctx.Hash, ctx.HasHash = s.HashBy(s.p.cfg.Hash)
	}
	h := s.cluster.Pick(&ctx)
	if h == nil {
		s.local.Inc(cluster.CxNoneHealthy)
		s.refuse(streaminfo.NoHealthyUpstream)
		return
	}
	s.local = h.Local
	if s.p.tunnel != nil {
		s.connectTunnel(h)
		return
	}
	if !h.TryConnection(false) {
		s.local.Inc(cluster.CxOverflow)
		s.refuse(streaminfo.UpstreamOverflow)
		return
	}
	if !s.local.Try(cluster.Pending, false) {
		s.local.Release(cluster.Connections, false)
		s.local.Inc(cluster.RqPendingOverflow)
		s.refuse(streaminfo.UpstreamOverflow)
		return
	}
	s.cxHeld = true
	s.host = h
	s.wait()
	s.info.Attempts++
	s.info.Tried(h.Host)
	s.info.UpstreamConnect = s.loop.Now()
	o := conn.Upstream(s.local.Config())
	o.Addresses = h.Host.Info().Addresses
	if t, ok := h.Host.Transport.(*transportsocket.Upstream); ok {
		s.wish(t, &o)
	}
	s.local.Inc(cluster.CxTotal)
	s.local.GaugeAdd(cluster.CxActive, 1)
	h.OnConnecting()
	s.up = conn.Dial(s.loop, h.Host.Address, o, (*upstream)(s))
}

// HashBy implements lb.Hasher: of a connection there are the client's address and the filter state.
func (s *session) HashBy(policies []xdsresource.HashPolicy) (hash uint64, ok bool) {
	hash, ok, _ = route.Hash(policies, route.HashInput{Source: s.info.RemoteAddr().Addr().Unmap(), State: &s.info}, nil)
	return hash, ok
}

// wait counts the session among the requests that wait for a connection: to a cluster's
// statistics a session is a request, as in Envoy.
func (s *session) wait() {
	s.pending = true
	s.local.Inc(cluster.RqPendingTotal)
	s.local.GaugeAdd(cluster.RqPendingActive, 1)
	s.host.OnWaiting(1)
}

// waited ends that, by a connection or without one: then why is counted.
func (s *session) waited(why cluster.Stat) {
	s.pending = false
	s.local.GaugeAdd(cluster.RqPendingActive, -1)
	s.host.OnWaiting(-1)
	s.local.Release(cluster.Pending, false)
	s.local.Inc(why)
}

// wish says what the connection wants of its transport: what filters have left in the filter state, and
// who its client is.
func (s *session) wish(t *transportsocket.Upstream, o *conn.DialOptions) {
	down := s.down.Info()
	o.TLS = t.TLS
	if t.TLS != nil {
		s.info.UpstreamTLS = true
		o.Wish.ServerName = filterstate.String(down.State.Get(filterstate.UpstreamServerName))
		o.Wish.Names = filterstate.String(down.State.Get(filterstate.UpstreamSubjectAltNames))
		o.Wish.ALPN = filterstate.String(down.State.Get(filterstate.ApplicationProtocols))
	}
	t.Complete(&o.Wish, s.host.Host.Hostname)
	if t.Proxy != nil {
		tlvs := s.p.cfg.Merge(down.ProxyTLVs)
		o.Wish.Client = t.ClientOf(down.RemoteAddr, down.LocalAddr, tlvs)
		o.Header = t.Header(&o.Wish, tlvs, s.host.Host.Info().TLVs, s.local.CountLostTLVs)
	}
}

// release gives back what connect took for the attempt; remote: the host ended it.
func (s *session) release(remote bool) {
	if !s.cxHeld {
		return
	}
	s.cxHeld = false
	l := s.local
	l.Release(cluster.Connections, false)
	l.GaugeAdd(cluster.CxActive, -1)
	s.host.OnDisconnected()
	side, active := cluster.CxDestroyLocal, cluster.CxDestroyLocalWithActiveRq
	if remote {
		side, active = cluster.CxDestroyRemote, cluster.CxDestroyRemoteWithActiveRq
	}
	l.Inc(cluster.CxDestroy)
	l.Inc(side)
	if !s.upOpen {
		return
	}
	l.Inc(cluster.CxDestroyWithActiveRq)
	l.Inc(active)
	l.GaugeAdd(cluster.RqActive, -1)
	s.host.OnDone()
	s.host.Leave(s)
}

// connectFailed counts an attempt that has got no connection.
func (s *session) connectFailed(err error) {
	s.local.Inc(cluster.CxConnectFail)
	kind, remote := cluster.ResultConnectFailed, true
	var e *conn.Error
	if errors.As(err, &e) {
		s.info.UpstreamFailure = e.TransportFailureReason()
		switch e.Kind {
		case conn.ConnectTimeout, conn.HandshakeTimeout:
			kind, remote = cluster.ResultConnectTimeout, false
			s.local.Inc(cluster.CxConnectTimeout)
		case conn.TLS:
			s.local.TLS().Failed(err)
		}
	}
	s.waited(cluster.RqPendingFailureEject)
	s.release(remote)
	s.host.OnResult(cluster.Result{Kind: kind})
	s.up = nil
	s.attemptFailed()
}

// attemptFailed makes the next attempt, or gives up.
func (s *session) attemptFailed() {
	s.info.Set(streaminfo.UpstreamConnectionFailure)
	if s.down.Closed() {
		return
	}
	if uint32(s.info.Attempts) >= max(s.p.cfg.MaxConnectAttempts, 1) {
		s.local.Inc(cluster.CxConnectAttemptsExceeded)
		s.refuse(streaminfo.UpstreamRetryLimitExceeded)
		return
	}
	s.tried = append(s.tried, &s.host.Load)
	s.again()
}

// again makes the next attempt, at once or after a random time below base * (2^n - 1), at most the
// maximum: Envoy's back-off.
func (s *session) again() {
	base, most := s.p.cfg.BackOffBase, s.p.cfg.BackOffMax
	if base <= 0 {
		s.connect()
		return
	}
	ceiling := min(base<<min(s.info.Attempts, 16)-base, most)
	s.backOff.Init(s.connect)
	s.loop.Arm(&s.backOff, time.Duration(s.loop.Rand()%uint64(max(ceiling, 1))))
}

// upstream is the session as the upstream connection's handler.
type upstream session

// OnConnected implements conn.ConnectHandler.
func (u *upstream) OnConnected(c *conn.Conn) {
	s := (*session)(u)
	now := s.loop.Now()
	s.upOpen = true
	s.local.CountAttempts(c.Info().Attempts)
	s.waited(cluster.RqTotal)
	s.local.GaugeAdd(cluster.RqActive, 1)
	s.host.OnRequest()
	s.host.Depend(s)
	s.info.UpstreamConnected = now
	s.info.Flags &^= streaminfo.UpstreamConnectionFailure // an earlier attempt's
	s.info.UpstreamFailure = ""
	s.local.Record(cluster.CxConnectMs, uint64(now-s.info.UpstreamConnect)/1e6)
	s.host.OnResult(cluster.Result{Kind: cluster.ResultConnected})
	i := c.Info()
	s.info.UpstreamLocal, s.info.UpstreamRemote = i.LocalAddr, i.RemoteAddr
	s.info.UpstreamURI, s.info.UpstreamTLSState, s.info.UpstreamConnectionID = i.PeerURI, i.TLS, i.ID
	if i.TLS != nil {
		s.local.TLS().Done(i.TLS)
	}
	if s.p.cfg.LogOnConnected {
		s.entry(format.TCPUpstreamConnected)
	}
	s.introduce()
	if s.meter != nil {
		s.loop.Arm(&s.report, reportEvery)
	}
	s.armIdle()
	s.down.SpliceTo(c)
	c.SpliceTo(s.down)
	s.down.ResumeRead()
}

// armIdle begins the idle timeout.
func (s *session) armIdle() {
	if s.idleTimeout > 0 {
		s.idle.Init(s.onIdle)
		s.loop.Arm(&s.idle, s.idleTimeout)
	}
}
