// Package fault is the HTTP filter envoy.filters.http.fault: it delays and aborts requests on purpose, for trying out how callers cope.
//
// It decides by chance and by headers, and touches nothing but the request's timing and, for an abort, its answer. Limits of the
// response rate are not supported and refused when the configuration is read. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter
package fault

import (
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name, under which routes configure it.
const Name = "envoy.filters.http.fault"

// Config is a validated fault.v3.HTTPFault.
type Config struct {
	Delay *Delay // nil: none
	Abort *Abort // nil: none
	// Headers must all match for a request to be concerned; none: every request is.
	Headers []xdsresource.HeaderMatcher
	// UpstreamCluster limits faults to requests for this cluster; "": all.
	UpstreamCluster string
	// MaxActive bounds the faults of this filter in progress at once; 0: no bound. MaxActiveKey
	// overrides it.
	MaxActive    int64
	MaxActiveKey *runtimekey.Key

	matchers []route.HeaderMatcher
}

// Delay holds a share of the requests back.
type Delay struct {
	Fixed      time.Duration
	FixedKey   *runtimekey.Key // overrides Fixed, in milliseconds
	FromHeader bool            // x-envoy-fault-delay-request, in milliseconds, instead of Fixed
	Percent    xdsresource.FractionalPercent
}

// Abort answers a share of the requests with an error.
type Abort struct {
	Status     int             // HTTP status; 0 with GRPC or FromHeader
	GRPC       *int            // gRPC status instead, nil for none
	StatusKey  *runtimekey.Key // overrides Status, or GRPC
	FromHeader bool            // x-envoy-fault-abort-request
	Percent    xdsresource.FractionalPercent
}

// Statistics, "http.<stat_prefix>.fault.*", in the order of statSet.
const (
	aborts = iota
	delays
	overflow
	rateLimits
	active
)

var statSet = stats.NewSet(
	stats.Item{Name: "aborts_injected"}, stats.Item{Name: "delays_injected"}, stats.Item{Name: "faults_overflow"},
	stats.Item{Name: "response_rl_injected"}, stats.Item{Name: "active_faults", Kind: stats.KindGauge},
)

// New returns the factory for a filter chain; scope is that of its connection manager.
func New(cfg any, scope stats.Scope) httpfilter.Factory {
	return &factory{cfg: cfg.(*Config), store: scope.Store(), stats: scope.Scope("fault").Block(statSet)}
}

type factory struct {
	cfg    *Config
	store  *stats.Store
	stats  stats.Block
	active atomic.Int64 // faults in progress on all workers; touched only when a fault happens
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	x := &filter{factory: f, loop: l, shard: new(stats.Shard)}
	if f.store != nil {
		x.shard = f.store.Shard(l.ID())
	}
	x.timer.Init(x.onDelayed)
	return x
}

// filter serves one stream at a time.
type filter struct {
	factory *factory
	loop    *eventloop.Loop
	shard   *stats.Shard
	timer   eventloop.Timer
	s       httpfilter.Stream
	cfg     *Config
	counted bool
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	f.cfg = f.factory.cfg
	if c, ok := s.FilterConfig().(*Config); ok {
		f.cfg = c
	}
	if f.cfg.Delay == nil && f.cfg.Abort == nil || !f.concerned(s, h) {
		return httpfilter.Continue
	}
	f.s = s
	if d := f.delay(h); d > 0 && f.count() {
		s.Info().Set(streaminfo.DelayInjected)
		f.inc(delays)
		f.loop.Arm(&f.timer, d)
		return httpfilter.Stop
	}
	if f.abort(h) {
		return httpfilter.Stop
	}
	return httpfilter.Continue
}

func (f *filter) concerned(s httpfilter.Stream, h *header.Map) bool {
	if name := f.cfg.UpstreamCluster; name != "" {
		t := s.Target()
		if t == nil || t.ClusterName(h) != name {
			return false
		}
	}
	for i := range f.cfg.matchers {
		if !f.cfg.matchers[i].Match(h) {
			return false
		}
	}
	return true
}

// delay draws whether and how long the request is held back.
func (f *filter) delay(h *header.Map) time.Duration {
	d := f.cfg.Delay
	if d == nil {
		return 0
	}
	share := d.Percent
	length := time.Duration(min(d.FixedKey.Uint(uint64(d.Fixed/time.Millisecond)), maxDelay)) * time.Millisecond
	if d.FromHeader {
		ms, err := strconv.ParseUint(string(h.Value(header.XEnvoyFaultDelayRequest)), 10, 32)
		if err != nil {
			return 0
		}
		length = time.Duration(ms) * time.Millisecond
		share = lowered(share, h.Value(header.XEnvoyFaultDelayRequestPercentage))
	}
	if !f.hit(share) {
		return 0
	}
	return length
}

// maxDelay bounds what the runtime may ask for, in milliseconds: a day.
const maxDelay = 24 * 60 * 60 * 1000

// lowered is the share, or the smaller one that a header asks for.
func lowered(share xdsresource.FractionalPercent, v []byte) xdsresource.FractionalPercent {
	share.Numerator, share.Denominator = share.Share()
	share.Key = nil
	if n, err := strconv.ParseUint(string(v), 10, 32); err == nil && uint32(n) < share.Numerator {
		share.Numerator = uint32(n)
	}
	return share
}

func (f *filter) hit(p xdsresource.FractionalPercent) bool {
	return p.Hit(f.loop.Rand())
}

// count takes a place among the active faults; false when all are taken.
func (f *filter) count() bool {
	if f.counted {
		return true
	}
	n := f.factory.active.Add(1)
	if most := int64(min(f.cfg.MaxActiveKey.Uint(f.cfg.mostActive()), math.MaxInt64)); n > most {
		f.factory.active.Add(-1)
		f.inc(overflow)
		return false
	}
	f.counted = true
	f.shard.GaugeAdd(f.factory.stats.Gauge(active), 1)
	return true
}

func (f *filter) inc(i int) { f.shard.Inc(f.factory.stats.Counter(i)) }

func (f *filter) onDelayed() {
	if !f.abort(f.s.RequestHeaders()) {
		f.s.ContinueRequest()
	}
}

// abort draws whether the request is answered with an error, and does so.
func (f *filter) abort(h *header.Map) bool {
	a := f.cfg.Abort
	if a == nil {
		return false
	}
	status, grpc, share := a.status(), a.grpc(), a.Percent
	if a.FromHeader {
		var ok bool
		if status, grpc, ok = asked(h); !ok {
			return false
		}
		share = lowered(share, h.Value(header.XEnvoyFaultAbortRequestPercentage))
	}
	if !f.hit(share) || !f.count() {
		return false
	}
	f.inc(aborts)
	reply := httpfilter.Reply{Code: status, Body: "fault filter abort", Details: "fault_filter_abort", Flags: streaminfo.FaultInjected}
	if grpc != nil {
		reply.Code, reply.GRPC = http.StatusOK, *grpc
	}
	f.s.Reply(reply)
	return true
}

// grpcKey asks for an abort with a status of gRPC.
var grpcKey = header.KeyOf("x-envoy-fault-abort-grpc-request")

// asked is the error that a request asks for: a status of HTTP, or else one of gRPC.
func asked(h *header.Map) (status int, grpc *int, ok bool) {
	if n, err := strconv.Atoi(string(h.Value(header.XEnvoyFaultAbortRequest))); err == nil && n >= 200 && n < 600 {
		return n, nil, true
	}
	v, there := h.GetKey(grpcKey)
	n, err := strconv.ParseUint(string(v), 10, 31)
	if !there || err != nil {
		return 0, nil, false
	}
	code := int(n)
	return 0, &code, true
}

// status is the HTTP status; what is none in the runtime does not count.
func (a *Abort) status() int {
	if n := a.StatusKey.Uint(uint64(a.Status)); a.GRPC == nil && n >= 200 && n < 600 {
		return int(n)
	}
	return a.Status
}

// grpc is the gRPC status; nil for none.
func (a *Abort) grpc() *int {
	if n := a.StatusKey.Uint(math.MaxUint64); a.GRPC != nil && n <= math.MaxInt32 {
		code := int(n)
		return &code
	}
	return a.GRPC
}

func (c *Config) mostActive() uint64 {
	if c.MaxActive > 0 {
		return uint64(c.MaxActive)
	}
	return math.MaxInt64
}

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(httpfilter.Stream) {
	if f.timer.Armed() {
		f.loop.Disarm(&f.timer)
	}
	if f.counted {
		f.factory.active.Add(-1)
		f.shard.GaugeAdd(f.factory.stats.Gauge(active), -1)
		f.counted = false
	}
	f.s, f.cfg = nil, nil
}
