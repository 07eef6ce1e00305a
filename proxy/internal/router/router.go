package router

import (
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/accesslog"
	"github.com/lateen-mesh/lateen/proxy/internal/asyncclient"
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Deps are what a router needs of its proxy.
type Deps struct {
	Clusters *cluster.Manager
	// LocalAddress is appended to x-forwarded-for of mirrored requests, as Envoy does with its node's address; may be invalid.
	LocalAddress netip.Addr
	// Stats and Scope, the connection manager's, are where it counts; without Stats it counts nothing.
	Stats *stats.Store
	Scope stats.Scope
	Logs  Logs
}

// Logs are upstream_log and its options: entries for attempts.
type Logs struct {
	Loggers []*accesslog.Logger
	// OnStart: an entry is written when an attempt has its connection as well.
	OnStart bool
	// Interval is that of entries of attempts that are under way; 0: none.
	Interval time.Duration
}

// New returns the factory of a chain's routers.
func New(cfg *Config, d Deps) httpfilter.Factory {
	f := &factory{cfg: cfg, deps: d}
	if d.Stats != nil {
		f.stats = d.Scope.Block(statSet)
		f.copies = asyncclient.Stats(d.Stats)
	}
	return f
}

type factory struct {
	cfg    *Config
	deps   Deps
	stats  stats.Block
	copies stats.Block
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	r := &router{cfg: f.cfg, logs: &f.deps.Logs, loop: l, clusters: f.deps.Clusters.Local(l.ID()), localAddress: f.deps.LocalAddress}
	r.shard = new(stats.Shard)
	if f.deps.Stats != nil {
		r.stats, r.copies, r.shard = f.stats, f.copies, f.deps.Stats.Shard(l.ID())
	}
	r.body.Init(l.Buffers())
	r.globalTimer.Init(r.onGlobalTimeout)
	r.backOffTimer.Init(r.onBackOff)
	r.spare = append(r.spare, newAttempt(r)) // most requests need one
	return r
}

// state is where a request stands.
type state uint8

const (
	idle       state = iota
	trying           // attempts are under way, or there is a pause before the next
	responding       // the answer is being passed on
	done             // answered, locally or in full; what still comes is dropped
)

// router serves one request at a time. It is made once for a stream object and used again. It implements httpfilter.Terminal for the
// client's side; attempts are the hosts' side.
type router struct {
	cfg          *Config
	logs         *Logs
	loop         *eventloop.Loop
	clusters     *cluster.LocalManager
	localAddress netip.Addr
	stats        stats.Block
	copies       stats.Block // of mirrored requests
	shard        *stats.Shard

	// The request, set by BeginRequest and cleared by OnComplete.
	state   state
	s       httpfilter.Responder
	h       *header.Map
	entry   *route.Entry
	forward *route.Forward
	target  *route.Target
	local   *cluster.Local
	// vcluster counts by the request's virtual cluster; nil: it is in none.
	vcluster *route.Traffic
	ctx      format.Context
	high     bool

	path      []byte      // of the request, before it was rewritten
	held      bool        // what follows the head of a request for a tunnel waits until there is one
	ended     bool        // the request has been received in full
	endedAt   int64       // when that was
	trailers  *header.Map // of the request, nil for none
	body      iobuf.Buffer
	keep      bool // body holds all of the body so far, for a retry
	bodyLimit int  // how much of it may be kept
	sentBody  bool // some of the body is gone, or more than may be kept has come: it cannot be sent again

	attempts []*attempt // under way; several only where hedging is on
	spare    []*attempt
	records  []*record // to be used again
	cur      *attempt  // the newest, or the one whose answer is passed on; nil: none
	pausing  bool      // the next attempt waits for backOffTimer
	hedged   bool      // there has been an attempt beside another

	retry      retryState
	retryHosts cluster.Retry
	limits     timeouts
	lb         lb.Context
	avoid      []*lb.Load
	cookies    []*xdsresource.HashCookie // that the answer sets

	dropName    func() // nil: no name is waited for
	nameDetails string // why the name of the request has no host; "": nobody has asked
	mirrors     []*mirror

	globalTimer, backOffTimer eventloop.Timer
}

// OnComplete implements httpfilter.Terminal: the stream is over, or its client is gone.
func (r *router) OnComplete(httpfilter.Stream) {
	r.dropAttempts()
	r.retry.release(r.local, r.high)
	r.retryHosts.Reset()
	for _, t := range []*eventloop.Timer{&r.globalTimer, &r.backOffTimer} {
		if t.Armed() {
			r.loop.Disarm(t)
		}
	}
	for i, m := range r.mirrors {
		m.streamOver()
		r.mirrors[i] = nil
	}
	clear(r.avoid)
	clear(r.cookies)
	r.body.Reset()
	r.state = idle
	r.s, r.h, r.entry, r.forward, r.target, r.local, r.trailers = nil, nil, nil, nil, nil, nil, nil
	r.ctx, r.vcluster = format.Context{}, nil
	r.ended, r.keep, r.sentBody, r.high, r.pausing, r.hedged = false, false, false, false, false, false
	r.endedAt = 0
	r.path, r.held = nil, false
	r.retry, r.limits, r.avoid, r.mirrors, r.cookies = retryState{}, timeouts{}, r.avoid[:0], r.mirrors[:0], r.cookies[:0]
	r.lb, r.nameDetails = lb.Context{}, ""
}

// upstream is the HTTP side of the cluster's configuration.
func (r *router) upstream() *xdsresource.UpstreamHTTP { return &r.local.Config().HTTP }
