package tracing

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestTraceparent(t *testing.T) {
	const id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for in, want := range map[string]Sampling{
		"00-" + id + "-" + parent + "-01":                       Sampled,
		"00-" + id + "-" + parent + "-00":                       NotSampled,
		"00-" + id + "-" + parent + "-0b":                       Sampled,
		"00-" + id + "-" + parent + "-0a":                       NotSampled,
		"cc-" + id + "-" + parent + "-01-more":                  Sampled, // a later version may say more
		"00-" + id + "-" + parent + "-01-more":                  Undecided,
		"ff-" + id + "-" + parent + "-01":                       Undecided,
		"00-" + id + "-0000000000000000-01":                     Undecided,
		"00-00000000000000000000000000000000-" + parent + "-01": Undecided,
		"00-" + id[1:] + "-" + parent + "-01":                   Undecided,
		"00-" + id[1:] + "x-" + parent + "-01":                  Undecided,
		"":                                                      Undecided,
	} {
		h := headers("traceparent", in)
		c := Extract(h, W3C)
		if c.Sampling != want || c.Valid() != (want != Undecided) {
			t.Errorf("%q: %+v, want sampling %v", in, c, want)
		}
		if !c.Valid() {
			continue
		}
		if c.TraceHigh != 0x0af7651916cd43dd || c.TraceLow != 0x8448eb211c80319c || c.Span != 0xb7ad6b7169203331 {
			t.Errorf("%q: ids %+v", in, c)
		}
		c.Inject(h)
		again := Extract(h, W3C)
		if again != c {
			t.Errorf("%+v became %+v on the wire", c, again)
		}
		if h.Has(header.XB3TraceID) {
			t.Error("B3 was written")
		}
	}
}

// TestProviders holds how each provider continues and begins traces.
func TestProviders(t *testing.T) {
	policy := func(provider any, d xdsresource.Direction, spawn bool) Policy {
		return NewPolicy(&xdsresource.Tracing{RandomSampling: 100, OverallSampling: 100, ClientSampling: 100, Provider: provider, SpawnUpstreamSpan: spawn}, d, false)
	}
	const in = xdsresource.DirectionInbound
	b3 := func() *header.Map { return headers("x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-sampled", "1") }
	get := func(h *header.Map, name string) string { v, _ := h.GetName(name); return string(v) }

	h := b3()
	if c, had, _ := policy(&xdsresource.Zipkin{SharedSpan: true, LongIDs: true}, in, false).Start(h, &numbers{9}, nil); !had || get(h, "x-b3-spanid") != span || c.Call != 0 {
		t.Errorf("a shared span: %+v, %s", c, get(h, "x-b3-spanid"))
	}
	h = b3()
	if c, _, _ := policy(&xdsresource.Zipkin{LongIDs: true}, in, false).Start(h, &numbers{9}, nil); get(h, "x-b3-spanid") != "0000000000000009" || get(h, "x-b3-parentspanid") != span || c.Span != 9 {
		t.Errorf("a span of its own: %+v", c)
	}
	h = b3()
	if c, _, _ := policy(&xdsresource.Zipkin{SharedSpan: true, SplitSpans: true}, in, false).Start(h, &numbers{9}, nil); get(h, "x-b3-spanid") != "0000000000000009" || get(h, "x-b3-parentspanid") != span || c.Call != 9 {
		t.Errorf("a call of its own: %+v, upstream sees %s", c, get(h, "x-b3-spanid"))
	}
	h = &header.Map{}
	if c, _, _ := policy(&xdsresource.Zipkin{SharedSpan: true}, in, false).Start(h, &numbers{7, 8}, nil); c.TraceHigh != 0 || len(get(h, "x-b3-traceid")) != 16 {
		t.Errorf("a short trace id: %+v", c)
	}
	h = headers("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if c, _, _ := policy(&xdsresource.Zipkin{SharedSpan: true, W3C: true}, in, false).Start(h, &numbers{}, nil); c.TraceHigh != 0x0af7651916cd43dd || get(h, "x-b3-spanid") != "b7ad6b7169203331" {
		t.Errorf("W3C into B3: %+v", c)
	}
	h = headers("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate", "a=b")
	if c, _, _ := policy(&xdsresource.OTLPTracing{}, in, false).Start(h, &numbers{5}, nil); get(h, "traceparent") != "00-0af7651916cd43dd8448eb211c80319c-0000000000000005-01" || c.Parent != 0xb7ad6b7169203331 || get(h, "tracestate") != "a=b" {
		t.Errorf("OpenTelemetry: %+v, %s", c, get(h, "traceparent"))
	}
	silent := NewPolicy(&xdsresource.Tracing{RandomSampling: 100, OverallSampling: 100, NoPropagation: true}, in, false)
	h = &header.Map{}
	if c, _, _ := silent.Start(h, &numbers{7, 8}, nil); !c.Valid() || h.Len() != 0 {
		t.Errorf("without propagation: %+v, %d headers", c, h.Len())
	}
}

// flips is a sampler that decides against what was decided, and says so in tracestate.
type flips struct{}

func (flips) Sample(worker int, _ *header.Map, c Context, had bool) Context {
	c.State, c.Note = fmt.Sprint("flips=", worker, had), 7
	if c.Wanted() {
		c.Sampling = NotSampled
	} else {
		c.Sampling = Sampled
	}
	return c
}

func (flips) Attributes(uint32) []Attribute { return nil }

// TestSamplerDecides: where there is a sampler the caller's flag does not count. The shares do.
func TestSamplerDecides(t *testing.T) {
	all, none := &xdsresource.Tracing{RandomSampling: 100, OverallSampling: 100, Provider: &xdsresource.OTLPTracing{}}, &xdsresource.Tracing{Provider: &xdsresource.OTLPTracing{}}
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
	for _, c := range []struct {
		name, parent string
		cfg          *xdsresource.Tracing
		want         Sampling
		state        string
	}{
		{"a caller that samples", parent + "1", all, NotSampled, "flips=0 true"},
		{"a caller that does not", parent + "0", all, Sampled, "flips=0 true"},
		{"no caller", "", all, NotSampled, "flips=0 false"},
		{"no share", parent + "0", none, NotSampled, "flips=0 true"},
	} {
		h := headers()
		if c.parent != "" {
			h = headers("traceparent", c.parent, "tracestate", "a=b")
		}
		got, _, _ := NewPolicy(c.cfg, xdsresource.DirectionInbound, false).By(flips{}).Start(h, &numbers{5, 6, 7}, nil)
		flag := map[Sampling]string{Sampled: "-01", NotSampled: "-00"}[c.want]
		if got.Sampling != c.want || got.Note != 7 || value(h, "tracestate") != c.state || !strings.HasSuffix(value(h, "traceparent"), flag) {
			t.Errorf("%s: %v, traceparent %s, tracestate %s", c.name, got, value(h, "traceparent"), value(h, "tracestate"))
		}
	}
}
