// Package fault is the HTTP filter envoy.filters.http.fault: it delays and aborts requests on purpose, for trying out how callers cope.
//
// It decides by chance and by headers, and touches nothing but the timing of requests and answers and, for an abort, the answer.
// Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter
package fault

import (
	"cmp"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name, under which routes configure it.
const Name = "envoy.filters.http.fault"

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
	x.throttle.init(l)
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
	throttle
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	f.cfg = f.factory.cfg
	if c, ok := s.FilterConfig().(*Config); ok {
		f.cfg = c
	}
	if !f.cfg.any() || !f.concerned(s, h) {
		return httpfilter.Continue
	}
	f.s = s
	if rate := f.rate(h); rate > 0 && f.count() {
		f.inc(rateLimits)
		f.throttle.begin(s, rate)
	}
	if d := f.delay(h); d > 0 && f.count() {
		s.Info().Set(streaminfo.DelayInjected)
		f.inc(delays)
		f.note()
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
	if nodes := f.cfg.DownstreamNodes; nodes != nil {
		if v, ok := h.Get(header.XEnvoyDownstreamServiceNode); !ok || !nodes[string(v)] {
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

// rate draws whether the answer is slowed down, and to how many bytes a second; 0: it is not.
func (f *filter) rate(h *header.Map) float64 {
	r := f.cfg.Rate
	if r == nil {
		return 0
	}
	kib, share := r.Fixed, r.Percent
	if r.FromHeader {
		n, err := strconv.ParseUint(string(value(h, throughputKey)), 10, 64)
		if err != nil {
			return 0
		}
		kib, share = n, lowered(share, value(h, throughputShareKey))
	}
	if !f.hit(share) {
		return 0
	}
	return float64(kib) * 1024
}

// note writes what the configuration says of requests with a fault into their dynamic metadata.
func (f *filter) note() {
	for k, v := range f.cfg.Metadata {
		f.s.Info().SetMetadata(Name, k, v)
	}
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
	f.note()
	reply := httpfilter.Reply{Code: status, Body: cmp.Or(a.Body, "fault filter abort"), Details: "fault_filter_abort", Flags: streaminfo.FaultInjected}
	if grpc != nil {
		reply.Code, reply.GRPC = http.StatusOK, *grpc
	}
	f.s.Reply(reply)
	return true
}

var (
	// grpcKey asks for an abort with a status of gRPC.
	grpcKey = header.KeyOf("x-envoy-fault-abort-grpc-request")
	// throughputKey asks for an answer of so many KiB a second, and throughputShareKey how often that happens.
	throughputKey      = header.KeyOf("x-envoy-fault-throughput-response")
	throughputShareKey = header.KeyOf("x-envoy-fault-throughput-response-percentage")
)

func value(h *header.Map, k header.Key) []byte {
	v, _ := h.GetKey(k)
	return v
}

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

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(httpfilter.Stream) {
	if f.timer.Armed() {
		f.loop.Disarm(&f.timer)
	}
	f.throttle.end()
	if f.counted {
		f.factory.active.Add(-1)
		f.shard.GaugeAdd(f.factory.stats.Gauge(active), -1)
		f.counted = false
	}
	f.s, f.cfg = nil, nil
}
