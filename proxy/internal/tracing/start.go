package tracing

import (
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Policy is the part of the connection manager's tracing configuration that decides, in parts of a million.
type Policy struct {
	client, random, overall uint32
	ingress                 bool
}

// NewPolicy prepares a connection manager's tracing settings. Inbound listeners, gateways included, join the caller's span; outbound
// ones begin a child span. Without settings (nil) nothing is sampled; the connection manager does not ask then.
func NewPolicy(t *xdsresource.Tracing, d xdsresource.Direction) Policy {
	if t == nil {
		return Policy{}
	}
	million := func(percent float64) uint32 { return uint32(min(100, max(0, percent)) * 10000) }
	return Policy{
		client: million(t.ClientSampling), random: million(t.RandomSampling), overall: million(t.OverallSampling),
		ingress: d != xdsresource.DirectionOutbound,
	}
}

// Random is a source of random numbers, such as an event loop.
type Random interface{ Rand() uint64 }

// Start decides on the span of a request and writes it into the request's headers.
func (p Policy) Start(h *header.Map, r Random) Context {
	c := Extract(h)
	if c.Sampling == Undecided {
		c.Sampling = p.decide(h, r)
	}
	switch {
	case !c.Valid():
		c = New(r.Rand(), r.Rand(), c.Sampling)
	case !p.ingress:
		c = c.Child(r.Rand())
	}
	c.Inject(h)
	return c
}

// decide follows Envoy's order: forced by the operator's header, asked for by the client, else by chance; all bounded by the overall
// share (docs of HttpConnectionManager.Tracing).
func (p Policy) decide(h *header.Map, r Random) Sampling {
	share := p.random
	if h.Has(header.XClientTraceID) {
		share = p.client
	}
	if h.Has(header.XEnvoyForceTrace) {
		share = 1000000
	}
	if share == 0 || p.overall == 0 || uint32(r.Rand()%1000000) >= share || uint32(r.Rand()%1000000) >= p.overall {
		return NotSampled
	}
	return Sampled
}

// Mirror is the span of a mirrored copy of a request whose span is c: a sibling call of the same application, so a child of the span
// that the original request carries.
func (c Context) Mirror(h *header.Map, r Random, keepSampling *bool) Context {
	m := c.Child(r.Rand())
	if keepSampling != nil && !*keepSampling {
		m.Sampling = NotSampled
	}
	m.Inject(h)
	return m
}
