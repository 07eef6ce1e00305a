package tracing

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// sw8 writes a context of texts and the number of a span, as another process would.
func sw8(flag, span string, texts ...string) string {
	for i, t := range texts {
		texts[i] = base64.StdEncoding.EncodeToString([]byte(t))
	}
	return flag + "-" + texts[0] + "-" + texts[1] + "-" + span + "-" + strings.Join(texts[2:], "-")
}

func TestParseSW8(t *testing.T) {
	whole := Caller{Trace: "a-trace", Segment: "its.part", Span: 3, Service: "shop", Instance: "shop-1", Endpoint: "/buy", Address: "10.0.0.1:80"}
	with := func(change func(*Caller)) *Caller { c := whole; change(&c); return &c }
	texts := func() []string { return []string{"a-trace", "its.part", "shop", "shop-1", "/buy", "10.0.0.1:80"} }
	good := sw8("1", "3", texts()...)
	for name, test := range map[string]struct {
		in   string
		want *Caller
	}{
		"whole":              {good, &whole},
		"not sampled":        {sw8("0", "3", texts()...), &whole},
		"no padding":         {strings.ReplaceAll(good, "=", ""), &whole},
		"span 0":             {sw8("1", "0", texts()...), with(func(c *Caller) { c.Span = 0 })},
		"the largest span":   {sw8("1", "2147483647", texts()...), with(func(c *Caller) { c.Span = 1<<31 - 1 })},
		"ids alone":          {sw8("1", "3", "a-trace", "its.part", "", "", "", ""), &Caller{Trace: "a-trace", Segment: "its.part", Span: 3}},
		"no UTF-8":           {sw8("1", "3", "a-trace", "its.part", "sh\xffp", "shop-1", "/buy", "10.0.0.1:80"), with(func(c *Caller) { c.Service = "sh!p" })},
		"the longest id":     {sw8("1", "3", strings.Repeat("t", maxID), "its.part", "shop", "shop-1", "/buy", "10.0.0.1:80"), with(func(c *Caller) { c.Trace = strings.Repeat("t", maxID) })},
		"too long an id":     {sw8("1", "3", strings.Repeat("t", maxID+1), "its.part", "", "", "", ""), nil},
		"too long a part":    {sw8("1", "3", "a-trace", strings.Repeat("t", maxID+1), "", "", "", ""), nil},
		"too long":           {sw8("1", "3", "a-trace", "its.part", "shop", "shop-1", strings.Repeat("/", maxSW8), ""), nil},
		"empty":              {"", nil},
		"a field is missing": {good[:strings.LastIndexByte(good, '-')], nil},
		"a field too many":   {good + "-", nil},
		"flag 2":             {"2" + good[1:], nil},
		"no flag":            {good[1:], nil},
		"no trace":           {sw8("1", "3", "", "its.part", "shop", "shop-1", "/buy", "a"), nil},
		"no segment":         {sw8("1", "3", "a-trace", "", "shop", "shop-1", "/buy", "a"), nil},
		"no span":            {sw8("1", "", texts()...), nil},
		"a span of letters":  {sw8("1", "3x", texts()...), nil},
		"a signed span":      {sw8("1", "+3", texts()...), nil},
		"too large a span":   {sw8("1", "2147483648", texts()...), nil},
		"no base64":          {strings.Replace(good, "-", "-#", 1), nil},
		"no base64 behind":   {good + "#", nil},
		"padding alone":      {strings.Replace(good, base64.StdEncoding.EncodeToString([]byte("shop")), "===", 1), nil},
		"bits too many":      {"1-YR==-YQ==-3----", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := extractSW8(headers("sw8", test.in)); !reflect.DeepEqual(got, test.want) {
				t.Errorf("%.100q: %+v, want %+v", test.in, got, test.want)
			}
		})
	}
	if extractSW8(headers("sw8", good, "sw8", "x")) == nil {
		t.Error("a second header has spoilt the first")
	}
	if extractSW8(headers()) != nil {
		t.Error("a context of nothing")
	}
}

// skyPolicy samples a share of requests for SkyWalking.
func skyPolicy(share float64, change func(*xdsresource.Tracing)) Policy {
	t := &xdsresource.Tracing{RandomSampling: share, OverallSampling: 100, ClientSampling: 100, SpawnUpstreamSpan: true, Provider: &xdsresource.SkyWalking{}}
	if change != nil {
		change(t)
	}
	return NewPolicy(t, xdsresource.DirectionInbound, false).Named("shop", "shop-1")
}

func TestSegment(t *testing.T) {
	rand := func() *numbers { return &numbers{1, 2, 3, 4} }
	const first, second = "00000000-0000-4001-8000-000000000002", "00000000-0000-4003-8000-000000000004"

	t.Run("a new trace", func(t *testing.T) {
		h := headers(":path", "/buy?n=1", "x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-sampled", "0")
		c, had, why := skyPolicy(100, nil).Start(h, rand(), nil)
		if had || why != Randomly || !c.Wanted() || c.Valid() || c.Call != 1 || c.Format != SW8 {
			t.Fatalf("%+v, had %v, why %v", c, had, why)
		}
		s := c.Segment
		if s.Trace != first || s.ID != second || s.Caller != nil || s.Endpoint != "/buy?n=1" || s.Service() != "shop" || s.Instance() != "shop-1" || s.CallName() != "/buy?n=1" {
			t.Errorf("%+v", s)
		}
		if value(h, "sw8") != "" || value(h, "x-b3-sampled") != "0" {
			t.Error("something was written before there was a host")
		}
		h.SetString(header.Path, "/new")
		s.InjectCall(h, 2, "10.0.0.9:8080")
		if want := sw8("1", "2", first, second, "shop", "shop-1", "/buy?n=1", "10.0.0.9:8080"); value(h, "sw8") != want {
			t.Errorf("written %s, want %s", value(h, "sw8"), want)
		}
		if s.CallName() != "/new" {
			t.Errorf("the call is named %s", s.CallName())
		}
		s.InjectOther(h, "authorizer")
		if want := sw8("1", "0", first, second, "shop", "shop-1", "/buy?n=1", "authorizer"); value(h, "sw8") != want {
			t.Errorf("another call is told %s, want %s", value(h, "sw8"), want)
		}
	})
	t.Run("a caller's", func(t *testing.T) {
		h := headers(":path", "/buy", "sw8", sw8("0", "7", "their trace", "their segment", "web", "web-1", "/", "shop:80"))
		c, had, why := skyPolicy(0, nil).Start(h, &numbers{1, 2}, nil)
		if !had || why != NotTraceable || !c.Wanted() {
			t.Fatalf("%+v, had %v, why %v", c, had, why)
		}
		if s := c.Segment; s.Trace != "their trace" || s.ID != "00000000-0000-4001-8000-000000000002" || s.Caller.Span != 7 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("not sampled", func(t *testing.T) {
		for _, in := range []string{"", "1-x"} {
			h := headers(":path", "/buy", "sw8", in)
			if c, had, _ := skyPolicy(0, nil).Start(h, &numbers{}, nil); had || c.Wanted() || c.Segment != nil || c.Call != 0 || value(h, "sw8") != in {
				t.Errorf("%q: %+v, had %v, written %q", in, c, had, value(h, "sw8"))
			}
		}
	})
	t.Run("calls without spans", func(t *testing.T) {
		c, _, _ := skyPolicy(100, func(t *xdsresource.Tracing) { t.SpawnUpstreamSpan = false }).Start(headers(":path", "/"), rand(), nil)
		if !c.Wanted() || c.Call != 0 {
			t.Errorf("%+v", c)
		}
	})
	t.Run("a route's share", func(t *testing.T) {
		none, all := &xdsresource.FractionalPercent{Denominator: 100}, &xdsresource.FractionalPercent{Numerator: 100, Denominator: 100}
		c, _, _ := skyPolicy(100, nil).Start(headers(":path", "/"), rand(), &xdsresource.RouteTracing{Client: all, Random: none, Overall: all})
		if c.Wanted() {
			t.Errorf("%+v", c)
		}
	})
}

// TestSegmentNames: what the provider says, else the node, else Envoy's name.
func TestSegmentNames(t *testing.T) {
	for _, test := range []struct{ service, instance, cluster, id, want string }{
		{"shop", "shop-1", "c", "n", "shop shop-1"},
		{"", "", "c", "n", "c n"},
		{"", "", "", "", "EnvoyProxy EnvoyProxy"},
	} {
		p := NewPolicy(&xdsresource.Tracing{RandomSampling: 100, OverallSampling: 100, Provider: &xdsresource.SkyWalking{ServiceName: test.service, InstanceName: test.instance}},
			xdsresource.DirectionInbound, false).Named(test.cluster, test.id)
		c, _, _ := p.Start(headers(":path", "/"), &numbers{}, nil)
		if got := c.Segment.Service() + " " + c.Segment.Instance(); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

// TestWrittenSW8IsShort: what is written stays below the protocol's 2 KiB, whatever a client asks for and a caller tells.
func TestWrittenSW8IsShort(t *testing.T) {
	h := headers(":path", "/"+strings.Repeat("ä", 10000), "sw8", sw8("1", "7", strings.Repeat("t", maxID), "s", "web", "web-1", strings.Repeat("/", 4000), "shop:80"))
	c, had, _ := skyPolicy(100, nil).Start(h, &numbers{}, nil)
	if !had {
		t.Fatal("the caller's context was not taken")
	}
	c.Segment.node = &node{strings.Repeat("s", 250), strings.Repeat("i", 250)}
	c.Segment.InjectCall(h, 1<<30, "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535")
	if n := len(value(h, "sw8")); n >= 2<<10 {
		t.Errorf("%d bytes", n)
	}
	if parseSW8(value(h, "sw8")) == nil {
		t.Error("what was written cannot be read")
	}
}

// TestPlainContextCost: those whose tracer is another do not pay for SkyWalking's.
func TestPlainContextCost(t *testing.T) {
	p := NewPolicy(&xdsresource.Tracing{RandomSampling: 100, OverallSampling: 100, Provider: &xdsresource.Zipkin{}}, xdsresource.DirectionInbound, false).Named("c", "n")
	h := headers("x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-sampled", "1")
	r := &numbers{}
	p.Start(h, r, nil) // the map grows once
	if n := testing.AllocsPerRun(100, func() {
		h.ResetFields()
		p.Start(h, r, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzSW8: any header is read or not; what was read is told in full, and can be read again as it was.
func FuzzSW8(f *testing.F) {
	f.Add(sw8("1", "3", "a-trace", "its.part", "shop", "shop-1", "/buy", "10.0.0.1:80"), "/path")
	f.Add("0-YQ-YQ-0----", "")
	f.Add("1-####-c2VnbWVudA==-3-c2VydmljZQ==-aW5zdGFuY2U=-ZW5kcG9pbnQ=-YWRkcmVzcw==", "\xff")
	f.Fuzz(func(t *testing.T, in, path string) {
		h := headers(":path", path, "sw8", in)
		c, had, _ := skyPolicy(100, nil).Start(h, &numbers{1, 2, 3, 4}, nil)
		if !c.Wanted() || had != (c.Segment.Caller != nil) {
			t.Fatalf("%+v", c)
		}
		if k := c.Segment.Caller; had {
			if k.Trace == "" || len(k.Trace) > maxID || k.Segment == "" || len(k.Segment) > maxID || k.Span < 0 || len(in) > maxSW8 || k.Trace != c.Segment.Trace {
				t.Fatalf("%q: %+v", in, k)
			}
			again := parseSW8(sw8("1", fmt.Sprint(k.Span), k.Trace, k.Segment, k.Service, k.Instance, k.Endpoint, k.Address))
			if !reflect.DeepEqual(again, k) {
				t.Fatalf("%+v became %+v", k, again)
			}
		}
		c.Segment.InjectCall(h, 1, path)
		next := extractSW8(h)
		if len(path) <= maxEndpoint && (next == nil || next.Trace != c.Segment.Trace || next.Segment != c.Segment.ID || next.Endpoint != c.Segment.Endpoint || next.Span != 1) {
			t.Fatalf("%q was written, and read as %+v", value(h, "sw8"), next)
		}
	})
}
