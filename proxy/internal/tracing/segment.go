package tracing

import (
	"cmp"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/uuid"
)

// Segment is SkyWalking's context of a request: the part of a trace that this process tells of. Its first span, of the number 0, is that of
// the request, and each attempt of its call has the attempt's number. A request belongs to one worker, and so does its segment.
type Segment struct {
	Trace, ID string
	// Caller is where the request came from; nil: it began the trace.
	Caller *Caller
	// Endpoint is the name of the request's span.
	Endpoint string
	// Calls are the spans of attempts that are over.
	Calls []*Span

	asked string // the path that a host was asked for, and told of the span
	node  *node
}

// node names who tells of segments.
type node struct{ service, instance string }

// nobody is the name of a service or instance that has none, as in Envoy.
const nobody = "EnvoyProxy"

// Named names the process, by node.cluster and node.id, where the provider of SkyWalking's does not.
func (p Policy) Named(cluster, id string) Policy {
	if p.node != nil {
		p.node = &node{cmp.Or(p.node.service, cluster, nobody), cmp.Or(p.node.instance, id, nobody)}
	}
	return p
}

// Service is the name of the service that the segment is of.
func (s *Segment) Service() string { return s.node.service }

// Instance is the name of the service's instance.
func (s *Segment) Instance() string { return s.node.instance }

// segment begins that of a request: below a caller's span, whose request is told of in any case, else as the shares have it.
func (p *Policy) segment(h *header.Map, r Random, why Reason) (c Context, had bool) {
	c.Format, c.Sampling = SW8, NotSampled
	s := &Segment{Caller: extractSW8(h), node: p.node}
	if had = s.Caller != nil; !had && why == NotTraceable {
		return c, false
	}
	c.Sampling, c.Segment = Sampled, s
	if had {
		s.Trace = s.Caller.Trace
	} else {
		s.Trace = randomID(r)
	}
	s.ID, s.Endpoint = randomID(r), endpoint(h)
	if p.spawn {
		c.Call = 1
	}
	return c, had
}

func randomID(r Random) string {
	return string(uuid.Append(nil, r.Rand(), r.Rand()))
}

// endpoint names a request by its path, as Envoy does.
func endpoint(h *header.Map) string {
	path := h.Value(header.Path)
	return strings.ToValidUTF8(string(path[:min(len(path), maxEndpoint)]), "!")
}

// CallName is the name of the span of a call: as in Envoy the path that the host was asked for, or the request's own where no host is told of
// spans.
func (s *Segment) CallName() string { return cmp.Or(s.asked, s.Endpoint) }

// InjectCall tells the host of an attempt, which is called by an address, of the attempt's span.
func (s *Segment) InjectCall(h *header.Map, attempt uint64, address string) {
	s.asked = endpoint(h)
	s.injectSW8(h, attempt, address)
}

// InjectOther tells the callee of another call that is made for the request, and has no span of its own, of the request's.
func (s *Segment) InjectOther(h *header.Map, address string) { s.injectSW8(h, 0, address) }
