package tracing

import (
	"slices"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// numbers hands out the given numbers, then zeros.
type numbers []uint64

func (n *numbers) Rand() uint64 {
	if len(*n) == 0 {
		return 0
	}
	v := (*n)[0]
	*n = (*n)[1:]
	return v
}

func (n *numbers) WallNow() time.Time { return time.Unix(0x6b0de53a, 5) }
func (n *numbers) ID() int            { return 0 }

// headers are those of a request, whose id has the number 0 where it is not given: whatever happens by chance happens then.
func headers(pairs ...string) *header.Map {
	h := &header.Map{}
	if !slices.Contains(pairs, "x-request-id") {
		h.AddString(header.XRequestID, "00000000-0000-4000-8000-000000000000")
	}
	for i := 0; i < len(pairs); i += 2 {
		h.AddKey(header.KeyOf(pairs[i]), []byte(pairs[i+1]))
	}
	return h
}

const (
	trace = "d07b1cb671a13906948c4e8cdb04fc5f"
	span  = "948c4e8cdb04fc5f"
)

func TestExtract(t *testing.T) {
	whole := Context{TraceHigh: 0xd07b1cb671a13906, TraceLow: 0x948c4e8cdb04fc5f, Span: 0x948c4e8cdb04fc5f}
	with := func(s Sampling, parent uint64) Context { c := whole; c.Sampling, c.Parent = s, parent; return c }
	single := func(c Context) Context { c.Format = B3Single; return c }
	tests := []struct {
		name string
		in   *header.Map
		want Context
	}{
		{"none", headers(), Context{}},
		{"several", headers("x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-sampled", "0"), with(NotSampled, 0)},
		{"several with parent", headers("x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-parentspanid", "00000000000000ff", "x-b3-sampled", "1"), with(Sampled, 255)},
		{"upper case and debug", headers("x-b3-traceid", "D07B1CB671A13906948C4E8CDB04FC5F", "x-b3-spanid", span, "x-b3-flags", "1"), with(Debug, 0)},
		{"64 bit", headers("x-b3-traceid", span, "x-b3-spanid", span), Context{TraceLow: whole.TraceLow, Span: whole.Span}},
		{"decision alone", headers("x-b3-sampled", "1"), Context{Sampling: Sampled}},
		{"short trace id", headers("x-b3-traceid", "abc", "x-b3-spanid", span, "x-b3-sampled", "1"), Context{Sampling: Sampled}},
		{"no span id", headers("x-b3-traceid", trace), Context{}},
		{"zero ids", headers("x-b3-traceid", "0000000000000000", "x-b3-spanid", "0000000000000000"), Context{}},
		{"bad parent", headers("x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-parentspanid", "zz"), Context{}},
		{"single", headers("b3", trace+"-"+span+"-1-00000000000000ff"), single(with(Sampled, 255))},
		{"single, undecided", headers("b3", trace+"-"+span), single(with(Undecided, 0))},
		{"single, deny", headers("b3", "0"), single(Context{Sampling: NotSampled})},
		{"single, damaged", headers("b3", trace+"-"+span+"-x"), Context{}},
		{"single, trailing", headers("b3", trace+"-"+span+"-1-"+span+"-1"), Context{}},
		{"several win", headers("x-b3-traceid", trace, "x-b3-spanid", span, "b3", "0"), whole},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got := Extract(tc.in, B3); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func value(h *header.Map, name string) string { v, _ := h.GetName(name); return string(v) }

// TestHops follows one request through gateway, sidecar and application, as captured on a real mesh: see B3 of the wire details.
func TestHops(t *testing.T) {
	cfg := &xdsresource.Tracing{RandomSampling: 1, ClientSampling: 100, OverallSampling: 100}
	h := headers("x-request-id", numbered(5000))
	gateway := NewPolicy(cfg, xdsresource.DirectionUnspecified, false)
	gateway.Start(h, &numbers{0xd07b1cb671a13906, 0x948c4e8cdb04fc5f}, nil)
	if value(h, "x-b3-traceid") != trace || value(h, "x-b3-spanid") != span || value(h, "x-b3-sampled") != "0" {
		t.Fatalf("gateway sent trace %q, span %q, sampled %q", value(h, "x-b3-traceid"), value(h, "x-b3-spanid"), value(h, "x-b3-sampled"))
	}
	if _, ok := h.GetName("x-b3-parentspanid"); ok {
		t.Error("the first hop has a parent span")
	}
	in := NewPolicy(cfg, xdsresource.DirectionInbound, false)
	in.Start(h, &numbers{}, nil)
	if value(h, "x-b3-spanid") != span {
		t.Errorf("the inbound side did not join the span: %q", value(h, "x-b3-spanid"))
	}
	out := NewPolicy(cfg, xdsresource.DirectionOutbound, false)
	c, _, _ := out.Start(h, &numbers{0xabc}, nil)
	if value(h, "x-b3-traceid") != trace || value(h, "x-b3-spanid") != "0000000000000abc" || value(h, "x-b3-parentspanid") != span || value(h, "x-b3-sampled") != "0" {
		t.Errorf("outbound: trace %q, span %q, parent %q", value(h, "x-b3-traceid"), value(h, "x-b3-spanid"), value(h, "x-b3-parentspanid"))
	}
	m := &header.Map{}
	h.CopyTo(m)
	c.Mirror(m, &numbers{0xdef}, nil)
	if value(m, "x-b3-spanid") != "0000000000000def" || value(m, "x-b3-parentspanid") != "0000000000000abc" {
		t.Errorf("mirror: span %q, parent %q", value(m, "x-b3-spanid"), value(m, "x-b3-parentspanid"))
	}
}

func TestSampling(t *testing.T) {
	tests := []struct {
		name string
		cfg  xdsresource.Tracing
		in   *header.Map
		rand numbers
		want Sampling
	}{
		{"1 % hit", xdsresource.Tracing{RandomSampling: 1, OverallSampling: 100}, headers("x-request-id", numbered(99)), numbers{}, Sampled},
		{"1 % miss", xdsresource.Tracing{RandomSampling: 1, OverallSampling: 100}, headers("x-request-id", numbered(100)), numbers{}, NotSampled},
		{"asked by the client", xdsresource.Tracing{ClientSampling: 100, OverallSampling: 100}, headers("x-client-trace-id", "7"), numbers{999999}, Sampled},
		{"forced", xdsresource.Tracing{OverallSampling: 100}, headers("x-envoy-force-trace", "1"), numbers{}, Sampled},
		{"bounded overall", xdsresource.Tracing{RandomSampling: 100}, headers(), numbers{}, NotSampled},
		{"not by request ids", xdsresource.Tracing{Always: true}, headers("x-request-id", ""), numbers{}, Sampled},
		{"not by request ids, kept", xdsresource.Tracing{Always: true}, headers("x-b3-sampled", "0"), numbers{}, NotSampled},
		{"kept", xdsresource.Tracing{RandomSampling: 100, OverallSampling: 100}, headers("x-b3-sampled", "0"), numbers{}, NotSampled},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c, _, _ := NewPolicy(&tc.cfg, xdsresource.DirectionInbound, false).Start(tc.in, &tc.rand, nil)
			if got := c.Sampling; got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

// TestSingleStays: who sends B3 in one header gets it in one, with what changed in between.
func TestSingleStays(t *testing.T) {
	cfg := &xdsresource.Tracing{RandomSampling: 100, OverallSampling: 100}
	for _, tt := range []struct{ in, joined, below string }{
		{trace + "-" + span + "-1", trace + "-" + span + "-1", trace + "-0000000000000abc-1-" + span},
		{trace + "-" + span + "-0-00000000000000ff", trace + "-" + span + "-0-00000000000000ff", trace + "-0000000000000abc-0-" + span},
		{span + "-" + span + "-d", span + "-" + span + "-d", span + "-0000000000000abc-d-" + span},
		{trace + "-" + span, trace + "-" + span + "-1", trace + "-0000000000000abc-1-" + span},
	} {
		for _, side := range []struct {
			d    xdsresource.Direction
			want string
		}{{xdsresource.DirectionInbound, tt.joined}, {xdsresource.DirectionOutbound, tt.below}} {
			h := headers("b3", tt.in)
			NewPolicy(cfg, side.d, false).Start(h, &numbers{0xabc}, nil)
			if got := value(h, "b3"); got != side.want || h.Len() != 2 {
				t.Errorf("%s, direction %v: %s and %d headers, want %s and the id", tt.in, side.d, got, h.Len(), side.want)
			}
		}
	}
}

func TestStartAllocatesNothing(t *testing.T) {
	p := NewPolicy(&xdsresource.Tracing{RandomSampling: 1, OverallSampling: 100}, xdsresource.DirectionOutbound, false)
	h, r := headers("x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-sampled", "0"), &numbers{}
	if n := testing.AllocsPerRun(100, func() {
		h.Reset()
		h.AddString(header.XRequestID, "00000000-0000-4000-8000-000000000000")
		h.AddString(header.XB3TraceID, trace)
		h.AddString(header.XB3SpanID, span)
		p.Start(h, r, nil)
	}); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

// FuzzExtract: what is read of a request is written so that the next hop reads the same.
func FuzzExtract(f *testing.F) {
	f.Add(uint8(B3), trace, span, "1", trace+"-"+span+"-1")
	f.Add(uint8(B3), "", "", "", "0")
	f.Add(uint8(B3), "", "", "", trace+"-"+span+"-d-"+span)
	f.Add(uint8(W3C), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "rojo=00f067aa0ba902b7", "", "")
	f.Add(uint8(W3C), "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-x", "", "", "")
	f.Add(uint8(B3AndW3C), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", span, "1", "")
	f.Fuzz(func(t *testing.T, format uint8, trace, span, sampled, single string) {
		h := headers("x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-sampled", sampled, "b3", single, "traceparent", trace, "tracestate", span)
		c := Extract(h, Format(format%4))
		if !c.Valid() {
			return
		}
		c.Inject(h)
		again := Extract(h, c.Format)
		if again.Sampling == Sampled && c.Sampling == Debug {
			again.Sampling = Debug // the debug flag is not written anew
		}
		if again != c {
			t.Errorf("%+v became %+v on the wire", c, again)
		}
	})
}

// TestW3CPassesThrough: applications that speak W3C keep their own chain of spans.
func TestW3CPassesThrough(t *testing.T) {
	const parent, state = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "rojo=00f067aa0ba902b7"
	h := &header.Map{}
	h.AddString(header.Traceparent, parent)
	h.AddString(header.Tracestate, state)
	New(1, 2, NotSampled).Child(3).Inject(h)
	if string(h.Value(header.Traceparent)) != parent || string(h.Value(header.Tracestate)) != state {
		t.Error("W3C headers were changed")
	}
}

// TestStartByRoute: what a route says of shares goes before what the connection manager says.
func TestStartByRoute(t *testing.T) {
	all := xdsresource.FractionalPercent{Numerator: 100, Denominator: 100}
	none := xdsresource.FractionalPercent{Denominator: 100}
	never, always := &xdsresource.Tracing{ClientSampling: 100, OverallSampling: 100}, &xdsresource.Tracing{ClientSampling: 100, RandomSampling: 100, OverallSampling: 100}
	for _, test := range []struct {
		name    string
		manager *xdsresource.Tracing
		route   *xdsresource.RouteTracing
		headers []string
		want    Reason
	}{
		{"nothing said, never", never, nil, nil, NotTraceable},
		{"nothing said, always", always, nil, nil, Randomly},
		{"the route traces all", never, &xdsresource.RouteTracing{Client: &all, Random: &all, Overall: &all}, nil, Randomly},
		{"the route traces none", always, &xdsresource.RouteTracing{Client: &all, Random: &none, Overall: &all}, nil, NotTraceable},
		{"the route does as the client asks", never, &xdsresource.RouteTracing{Client: &all, Random: &none, Overall: &all}, []string{"x-client-trace-id", "1"}, ByClient},
		{"the route does not do as the client asks", always, &xdsresource.RouteTracing{Client: &none, Random: &none, Overall: &all}, []string{"x-client-trace-id", "1"}, NotTraceable},
		{"the route is not forced", always, &xdsresource.RouteTracing{Client: &all, Random: &all, Overall: &none}, []string{"x-envoy-force-trace", "1"}, NotTraceable},
	} {
		_, _, why := NewPolicy(test.manager, xdsresource.DirectionInbound, false).Start(headers(test.headers...), &numbers{0, 7, 8, 9}, test.route)
		if why != test.want {
			t.Errorf("%s: %d, want %d", test.name, why, test.want)
		}
	}
}
