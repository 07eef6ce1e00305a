package tracing

import (
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// Sampling is the state of the sampling decision.
type Sampling uint8

// Sampling states. Undecided is what a caller without tracing leaves.
const (
	Undecided Sampling = iota
	NotSampled
	Sampled
	Debug // sampled, and never to be dropped by a collector
)

// Context names a span in a trace. The zero Context is none.
type Context struct {
	TraceHigh, TraceLow uint64 // TraceHigh is 0 for 64-bit trace ids
	Span, Parent        uint64 // Parent is 0 at the root
	Sampling            Sampling
	// Call is the span that the upstream is told of, when it has one of its own; 0: Span.
	Call uint64
	// Format is how the context is written.
	Format Format
	// Segment is all of the context in SkyWalking's form, whose ids are no numbers; nil in the others.
	Segment *Segment
	// Datadog is what travels beside in that format; nil in others.
	Datadog *Datadog
	// State is the tracestate that a sampler has made; "": it stays as it came.
	State string
	// Note is what a sampler keeps of its decision.
	Note uint32
}

// Valid reports whether the context names a span.
func (c Context) Valid() bool { return c.TraceLow != 0 && c.Span != 0 }

// Wanted reports whether the span is to be recorded.
func (c Context) Wanted() bool { return c.Sampling >= Sampled }

// New begins a trace with two random numbers.
func New(high, low uint64, s Sampling) Context {
	if low == 0 {
		low = 1 // zero would mean no context
	}
	return Context{TraceHigh: high, TraceLow: low, Span: low, Sampling: s}
}

// Child is a span below c with a random number as its id.
func (c Context) Child(id uint64) Context {
	if id == 0 {
		id = 1
	}
	c.Parent, c.Span, c.Call = c.Span, id, 0
	return c
}

// Extract reads the context of a request: the several B3 headers, else the single one. A damaged context is none, as if it had not
// been sent; a sampling decision without ids is kept.
//
// With W3C that is read instead, or with B3AndW3C where there is no B3.
func Extract(h *header.Map, f Format) Context {
	if f == W3C {
		c, _ := extractW3C(h)
		c.Format = f
		return c
	}
	c := extractB3(h)
	if f == B3AndW3C && !c.Valid() {
		if w, ok := extractW3C(h); ok {
			c = w
		}
	}
	if f == B3 && c.Format == B3Single {
		return c
	}
	c.Format = f
	return c
}

func extractB3(h *header.Map) Context {
	var c Context
	if v, ok := h.Get(header.XB3Sampled); ok {
		c.Sampling = sampled(v)
	}
	if v, ok := h.Get(header.XB3Flags); ok && len(v) == 1 && v[0] == '1' {
		c.Sampling = Debug
	}
	if trace, ok := h.Get(header.XB3TraceID); ok {
		ids := Context{Sampling: c.Sampling}
		if !ids.setTrace(trace) || !parse64(h.Value(header.XB3SpanID), &ids.Span) {
			return c
		}
		if p, ok := h.Get(header.XB3ParentSpanID); ok && !parse64(p, &ids.Parent) {
			return c
		}
		if !ids.Valid() {
			return c
		}
		return ids
	}
	if v, ok := h.Get(header.B3); ok {
		if single, ok := parseSingle(v); ok {
			single.Format = B3Single
			return single
		}
	}
	return c
}

func sampled(v []byte) Sampling {
	switch string(v) {
	case "1", "true":
		return Sampled
	case "0", "false":
		return NotSampled
	case "d":
		return Debug
	}
	return Undecided
}

// parseSingle reads "TRACE-SPAN[-SAMPLED[-PARENT]]" or a lone decision.
func parseSingle(v []byte) (Context, bool) {
	var c Context
	part := func() []byte {
		for i, b := range v {
			if b == '-' {
				p := v[:i]
				v = v[i+1:]
				return p
			}
		}
		p := v
		v = nil
		return p
	}
	trace := part()
	if len(v) == 0 {
		c.Sampling = sampled(trace)
		return c, c.Sampling != Undecided
	}
	if !c.setTrace(trace) || !parse64(part(), &c.Span) || !c.Valid() {
		return Context{}, false
	}
	if len(v) > 0 {
		if c.Sampling = sampled(part()); c.Sampling == Undecided {
			return Context{}, false
		}
	}
	if len(v) > 0 && !parse64(v, &c.Parent) {
		return Context{}, false
	}
	return c, true
}

func (c *Context) setTrace(v []byte) bool {
	switch len(v) {
	case 16:
		return parse64(v, &c.TraceLow)
	case 32:
		return parse64(v[:16], &c.TraceHigh) && parse64(v[16:], &c.TraceLow)
	}
	return false
}

// parse64 reads sixteen hexadecimal digits.
func parse64(v []byte, to *uint64) bool {
	if len(v) != 16 {
		return false
	}
	var n uint64
	for _, b := range v {
		switch {
		case b >= '0' && b <= '9':
			b -= '0'
		case b >= 'a' && b <= 'f':
			b -= 'a' - 10
		case b >= 'A' && b <= 'F':
			b -= 'A' - 10
		default:
			return false
		}
		n = n<<4 | uint64(b)
	}
	*to = n
	return true
}

// Inject writes the context into a request.
func (c Context) Inject(h *header.Map) {
	if c.Call != 0 {
		c = c.Child(c.Call)
	}
	switch c.Format {
	case B3Single:
		c.injectSingle(h)
	case W3C:
		c.injectW3C(h)
	case B3AndW3C:
		c.injectB3(h)
		c.injectW3C(h)
	case DatadogHeaders:
		c.injectDatadog(h)
	default:
		c.injectB3(h)
	}
}

// injectSingle writes the one B3 header, for those who gave us that: what is behind us may read no other.
func (c Context) injectSingle(h *header.Map) {
	b := c.AppendSpanID(append(c.AppendTraceID(h.Build()), '-'))
	switch c.Sampling {
	case NotSampled:
		b = append(b, "-0"...)
	case Sampled:
		b = append(b, "-1"...)
	case Debug:
		b = append(b, "-d"...)
	}
	if c.Parent != 0 && c.Sampling != Undecided {
		b = append64(append(b, '-'), c.Parent)
	}
	h.SetBuilt(singleKey, b)
}

// injectB3 writes the several B3 headers and drops the single one, so that the next hop sees one context.
func (c Context) injectB3(h *header.Map) {
	b := h.Build()
	if c.TraceHigh != 0 {
		b = append64(b, c.TraceHigh)
	}
	h.SetBuilt(traceKey, append64(b, c.TraceLow))
	h.SetBuilt(spanKey, append64(h.Build(), c.Span))
	if c.Parent != 0 {
		h.SetBuilt(parentKey, append64(h.Build(), c.Parent))
	} else {
		h.Remove(header.XB3ParentSpanID)
	}
	switch c.Sampling {
	case NotSampled:
		h.SetString(header.XB3Sampled, "0")
	case Sampled, Debug:
		h.SetString(header.XB3Sampled, "1")
	}
	h.Remove(header.B3)
}

// Names prepared once; they are constants in all but the language's eyes.
var (
	traceKey  = header.KeyOf("x-b3-traceid")
	spanKey   = header.KeyOf("x-b3-spanid")
	parentKey = header.KeyOf("x-b3-parentspanid")
	singleKey = header.KeyOf("b3")
)

// AppendTraceID appends the trace id as it is written on the wire.
func (c Context) AppendTraceID(dst []byte) []byte {
	if c.TraceHigh != 0 {
		dst = append64(dst, c.TraceHigh)
	}
	return append64(dst, c.TraceLow)
}

// AppendSpanID appends the span id as it is written on the wire.
func (c Context) AppendSpanID(dst []byte) []byte { return append64(dst, c.Span) }

func append64(dst []byte, n uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[n>>uint(shift)&15])
	}
	return dst
}
