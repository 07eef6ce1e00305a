package tracing

import (
	"math"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Policy is the part of the connection manager's tracing configuration that decides.
type Policy struct {
	client, random, overall xdsresource.FractionalPercent
	ingress                 bool
	format                  Format
	separate                bool // never join the caller's span
	short                   bool // trace ids of 64 bits
	spawn                   bool // the call upstream is a span of its own
	silent                  bool // nothing is written into requests
	always                  bool // whatever the shares say
	node                    *node
	rates                   Rates
	sampler                 Sampler
}

// NewPolicy prepares a connection manager's tracing settings. Inbound listeners, gateways included, join the caller's span; outbound
// ones begin a child span. Without settings (nil) nothing is sampled; the connection manager does not ask then. spawn: calls
// upstream have spans of their own, whatever the settings say.
func NewPolicy(t *xdsresource.Tracing, d xdsresource.Direction, spawn bool) Policy {
	if t == nil {
		return Policy{}
	}
	// As in Envoy, so that its proxies and ours decide alike on a request.
	share := func(percent float64, key *runtimekey.Key) xdsresource.FractionalPercent {
		return xdsresource.FractionalPercent{Numerator: uint32(math.Round(min(100, max(0, percent)) * 100)), Denominator: 10000, Key: key}
	}
	p := Policy{
		client: share(t.ClientSampling, t.ClientKey), random: share(t.RandomSampling, t.RandomKey), overall: share(t.OverallSampling, t.OverallKey),
		ingress: d != xdsresource.DirectionOutbound, spawn: t.SpawnUpstreamSpan || spawn, silent: t.NoPropagation, always: t.Always,
	}
	switch c := t.Provider.(type) {
	case *xdsresource.Zipkin:
		p.separate, p.short = !c.SharedSpan, !c.LongIDs
		p.spawn = p.spawn || c.SplitSpans
		if c.W3C {
			p.format = B3AndW3C
		}
	case *xdsresource.OTLPTracing:
		p.format, p.separate = W3C, true
	case *xdsresource.SkyWalking:
		p.format, p.node = SW8, &node{c.ServiceName, c.InstanceName}
	case *xdsresource.Datadog:
		p.format = DatadogHeaders
	}
	return p
}

// WithRates has new traces sampled by what a collector has told.
func (p Policy) WithRates(r Rates) Policy {
	p.rates = r
	return p
}

// By returns a policy by which a sampler decides; nil: the shares do.
func (p Policy) By(s Sampler) Policy {
	p.sampler = s
	return p
}

// Random is a source of random numbers.
type Random interface{ Rand() uint64 }

// Worker is an event loop.
type Worker interface {
	Random
	WallNow() time.Time
	ID() int
}

// Reason is why a request is traced, or not, a caller's decision left aside.
type Reason uint8

// Reasons.
const (
	NotTraceable Reason = iota
	Randomly
	ByClient // x-client-trace-id
	Forced   // x-envoy-force-trace
)

// Start decides on the span of a request and writes it into the request's headers. had tells that the request came with a context,
// whose decision counts more than the reason. by is what the request's route says of it; nil: nothing.
func (p Policy) Start(h *header.Map, r Worker, by *xdsresource.RouteTracing) (c Context, had bool, why Reason) {
	if by != nil {
		p.client, p.random, p.overall = *by.Client, *by.Random, *by.Overall
	}
	if p.format == DatadogHeaders {
		return p.startDatadog(h, r)
	}
	why = p.decide(h, r)
	if p.format == SW8 {
		c, had = p.segment(h, r, why)
		return c, had, why
	}
	c = Extract(h, p.format)
	had = c.Valid()
	switch {
	case c.Sampling != Undecided:
	case why == NotTraceable:
		c.Sampling = NotSampled
	default:
		c.Sampling = Sampled
	}
	switch {
	case !c.Valid():
		c = New(r.Rand(), r.Rand(), c.Sampling)
		c.Format = p.format
		if p.short {
			c.TraceHigh = 0
		}
		if p.format == W3C {
			c.Span = r.Rand() | 1 // an id of its own, as OpenTelemetry has it
		}
	case !p.ingress || p.separate:
		c = c.Child(r.Rand())
	}
	if p.sampler != nil {
		c = p.sampler.Sample(r.ID(), h, c, had)
		if why == NotTraceable {
			c.Sampling = NotSampled // as in Envoy the shares have the last word, though tracestate says what the sampler does
		}
	}
	if p.spawn {
		c.Call = max(r.Rand(), 1)
	}
	if !p.silent {
		c.Inject(h)
	}
	return c, had, why
}

// decide follows Envoy's order: as the hops before did, else asked for by the client, forced by the operator's header, else by chance; all bounded by the overall
// share (docs of HttpConnectionManager.Tracing; ConnectionManagerUtility::mutateTracingRequestHeader). A request without an id, or with one that has no
// number, is not traced. The id tells the hops behind.
func (p Policy) decide(h *header.Map, r Random) Reason {
	if p.always {
		return Randomly
	}
	id := h.Value(header.XRequestID)
	chance, ok := numberOf(id)
	if !ok {
		return NotTraceable
	}
	why := ReasonOf(id)
	switch {
	case why != NotTraceable:
	case h.Has(header.XClientTraceID) && p.client.Hit(r.Rand()):
		why = ByClient
	case h.Has(header.XEnvoyForceTrace):
		why = Forced
	case p.random.Hit(chance):
		why = Randomly
	}
	if why != NotTraceable && !p.overall.Hit(chance) {
		why = NotTraceable
	}
	WriteReason(h, why)
	return why
}

// Mirror is the span of a mirrored copy of a request whose span is c: a sibling call of the same application, so a child of the span
// that the original request carries.
func (c Context) Mirror(h *header.Map, r Random, keepSampling *bool) Context {
	m := c.Child(r.Rand())
	if keepSampling != nil && !*keepSampling {
		m.Sampling = NotSampled
		if m.Datadog != nil {
			m.Datadog = m.Datadog.dropped()
		}
	}
	m.Inject(h)
	return m
}
