package tracing

import "github.com/lateen-mesh/lateen/proxy/internal/header"

// Format says in which headers a context travels.
type Format uint8

// Formats. The zero value is B3.
const (
	B3 Format = iota
	W3C
	B3AndW3C // B3, and W3C for those that read only that
	B3Single // B3 in one header, as it came
	SW8      // SkyWalking's, for which there is a Segment
	DatadogHeaders
)

// extractW3C reads traceparent (https://www.w3.org/TR/trace-context/). A damaged one is none.
func extractW3C(h *header.Map) (c Context, ok bool) {
	v, have := h.Get(header.Traceparent)
	// Version, trace id, parent id, flags; a version after 00 may add more.
	if !have || len(v) < 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' || string(v[:2]) == "ff" || string(v[:2]) == "00" && len(v) != 55 {
		return c, false
	}
	if !c.setTrace(v[3:35]) || !parse64(v[36:52], &c.Span) || c.TraceHigh|c.TraceLow == 0 || c.Span == 0 {
		return Context{}, false
	}
	c.Sampling = NotSampled
	if f := v[54]; f >= '0' && f <= '9' && f&1 == 1 || f >= 'a' && f <= 'f' && f&1 == 0 || f >= 'A' && f <= 'F' && f&1 == 0 {
		c.Sampling = Sampled // the lowest bit of the digit: b, d and f are even as letters
	}
	return c, true
}

func (c Context) injectW3C(h *header.Map) {
	b := append(h.Build(), "00-"...)
	b = append64(append64(b, c.TraceHigh), c.TraceLow)
	b = append64(append(b, '-'), c.Span)
	if c.Wanted() {
		b = append(b, "-01"...)
	} else {
		b = append(b, "-00"...)
	}
	h.SetBuilt(parentOfCall, b)
	if c.State != "" {
		h.SetString(header.Tracestate, c.State)
	}
}

var parentOfCall = header.KeyOf("traceparent")
