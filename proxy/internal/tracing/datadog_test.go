package tracing

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// told is a rate of the agent's; negative: none.
type told float64

func (r told) Rate() (float64, bool) { return float64(r), r >= 0 }

// datadogPolicy traces what its share says.
func datadogPolicy(percent float64, rate told) Policy {
	return NewPolicy(&xdsresource.Tracing{RandomSampling: percent, OverallSampling: 100, Provider: &xdsresource.Datadog{}}, xdsresource.DirectionInbound, false).WithRates(rate)
}

const (
	datadogID = "10704016781229751391" // the low half of trace, in decimal digits
	high      = "d07b1cb671a13906"
)

// TestDatadogHeaders: what comes in, what goes out, and what is told of it. The span is abc throughout. As Envoy 1.40 answers.
func TestDatadogHeaders(t *testing.T) {
	own := []string{"x-datadog-trace-id", datadogID, "x-datadog-parent-id", "456"}
	with := func(more ...string) []string { return append(append([]string{}, own...), more...) }
	parent := "00-" + trace + "-a2fb4a1d1a96d312-01"
	const lowOnly = "0000000000000000" + span
	for _, tc := range []struct {
		name     string
		in       []string
		parent   uint64
		priority string
		tags     string // of Datadog's header
		traced   string // traceparent's trace id
		state    string // tracestate, with the span left out
		want     Datadog
	}{
		{"own", with("x-datadog-sampling-priority", "1", "x-datadog-origin", "synth=a,b;c~d", "x-datadog-tags", "_dd.p.tid="+high+",_dd.p.dm=-4,_dd.p.x=a=b,foo=bar"),
			456, "1", "_dd.p.tid=" + high + ",_dd.p.dm=-4,_dd.p.x=a=b", trace, "dd=s:1;p:;o:synth~a_b_c_d;t.dm:-4;t.x:a~b", Datadog{HasOrigin: true, Origin: "synth=a,b;c~d"}},
		{"own, undecided", with("x-datadog-tags", "_dd.p.dm=-4,_dd.p.x=1"), 456, "1", "_dd.p.dm=-0,_dd.p.x=1", lowOnly, "dd=s:1;p:;t.dm:-0;t.x:1", Datadog{Rate: 1}},
		{"dropped by somebody", with("x-datadog-sampling-priority", "-1", "x-datadog-tags", "_dd.p.dm=-4"), 456, "-1", "_dd.p.dm=-4", lowOnly, "dd=s:-1;p:;t.dm:-4", Datadog{}},
		{"a root of another tracer", []string{own[0], own[1], "x-datadog-origin", "rum"}, 0, "1", "_dd.p.dm=-0", lowOnly, "dd=s:1;p:;o:rum;t.dm:-0", Datadog{Rate: 1, HasOrigin: true, Origin: "rum"}},
		{"damaged tags", with("x-datadog-sampling-priority", "2", "x-datadog-tags", "_dd.p.tid="+high+",junk"), 456, "2", "_dd.p.tid=" + high + ",junk", lowOnly, "dd=s:2;p:",
			Datadog{Trouble: "decoding_error"}},
		{"a damaged high half", with("x-datadog-sampling-priority", "2", "x-datadog-tags", "_dd.p.tid=+07b1cb671a13906,_dd.p.a=1"), 456, "2", "_dd.p.a=1", lowOnly, "dd=s:2;p:;t.a:1",
			Datadog{Trouble: "malformed_tid +07b1cb671a13906"}},
		{"too many tags", with("x-datadog-sampling-priority", "2", "x-datadog-tags", "_dd.p.x="+strings.Repeat("a", 505)), 456, "2", "_dd.p.x=" + strings.Repeat("a", 505), lowOnly, "dd=s:2;p:",
			Datadog{Trouble: "extract_max_size"}},
		{"tags that become too many", with("x-datadog-tags", "_dd.p.x="+strings.Repeat("a", 504)), 456, "1", "_dd.p.x=" + strings.Repeat("a", 504), lowOnly, "dd=s:1;p:",
			Datadog{Trouble: "inject_max_size", Rate: 1}},
		{"a source", with("x-datadog-sampling-priority", "1", "x-datadog-tags", "_dd.p.ts=02,_dd.p.a=1"), 456, "1", "_dd.p.a=1,_dd.p.ts=02", lowOnly, "dd=s:1;p:;t.a:1;t.ts:02", Datadog{Source: "02"}},
		{"W3C", []string{"traceparent", parent, "tracestate", "vendor=1"}, 0xa2fb4a1d1a96d312, "1", "_dd.p.tid=" + high, trace, "dd=s:1;p:,vendor=1",
			Datadog{HasLastParent: true, LastParent: noParent}},
		{"W3C with a member", []string{"traceparent", parent, "tracestate", "a=1, dd=s:2;o:rum;p:00f067aa0ba902b7;t.dm:-4;t.usr.id:b~z;x:y;z ,b=2"}, 0xa2fb4a1d1a96d312, "2",
			"_dd.p.dm=-4,_dd.p.usr.id=b=z,_dd.p.tid=" + high, trace, "dd=s:2;p:;o:rum;t.dm:-4;t.usr.id:b~z;x:y,a=1,b=2",
			Datadog{HasLastParent: true, LastParent: "00f067aa0ba902b7", HasOrigin: true, Origin: "rum"}},
		{"W3C with a member that contradicts", []string{"traceparent", parent[:53] + "00", "tracestate", "dd=s:2;t.tid:1111111111111111"}, 0xa2fb4a1d1a96d312, "0", "_dd.p.tid=" + high, trace, "dd=s:0;p:",
			Datadog{HasLastParent: true, LastParent: noParent, Trouble: "inconsistent_tid 1111111111111111"}},
		{"W3C with a long member", []string{"traceparent", parent, "tracestate", "dd=t.a:" + strings.Repeat("x", 120) + ";t.b:" + strings.Repeat("y", 120) + ",v=1"}, 0xa2fb4a1d1a96d312, "1",
			"_dd.p.a=" + strings.Repeat("x", 120) + ",_dd.p.b=" + strings.Repeat("y", 120) + ",_dd.p.tid=" + high, trace, "dd=s:1;p:;t.a:" + strings.Repeat("x", 120) + ",v=1",
			Datadog{HasLastParent: true, LastParent: noParent}},
		{"both", with("x-datadog-sampling-priority", "2", "x-datadog-tags", "_dd.p.tid="+high+",_dd.p.dm=-4", "traceparent", parent, "tracestate", "dd=s:1;p:00f067aa0ba902b7;t.x:1;zz:1,v=1"),
			0xa2fb4a1d1a96d312, "2", "_dd.p.tid=" + high + ",_dd.p.dm=-4", trace, "dd=s:2;p:;t.dm:-4;zz:1,v=1", Datadog{HasLastParent: true, LastParent: "00f067aa0ba902b7"}},
		{"both, and no last parent", with("x-datadog-sampling-priority", "2", "x-datadog-tags", "_dd.p.tid="+high, "traceparent", parent), 0xa2fb4a1d1a96d312, "2", "_dd.p.tid=" + high, trace,
			"dd=s:2;p:", Datadog{HasLastParent: true, LastParent: "00000000000001c8"}},
		{"both, of two traces", with("x-datadog-sampling-priority", "2", "traceparent", parent, "tracestate", "v=1"), 456, "2", "", lowOnly, "dd=s:2;p:", Datadog{}},
		{"own, and a damaged traceparent", with("x-datadog-sampling-priority", "2", "traceparent", parent[1:]), 456, "2", "", lowOnly, "dd=s:2;p:", Datadog{W3CTrouble: "malformed_traceparent"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := headers(tc.in...)
			// One number for the share, one for the share of all, one for the span.
			c, had, why := datadogPolicy(100, -1).Start(h, &numbers{0xabc}, nil)
			d := c.Datadog
			if !had || why != Randomly || c.Parent != tc.parent || c.Span != 0xabc || d.Root != 0xabc || !c.Wanted() {
				t.Fatalf("%+v, %v, %v", c, had, why)
			}
			if tc.want.Rate == 0 {
				tc.want.Rate = -1
			}
			if d.Trouble != tc.want.Trouble || d.W3CTrouble != tc.want.W3CTrouble || d.Source != tc.want.Source || d.Rate != tc.want.Rate || d.Origin != tc.want.Origin ||
				d.HasOrigin != tc.want.HasOrigin || d.LastParent != tc.want.LastParent || d.HasLastParent != tc.want.HasLastParent {
				t.Errorf("got %+v, want %+v", d, tc.want)
			}
			flags := "-01"
			if strings.HasPrefix(tc.priority, "-") || tc.priority == "0" {
				flags = "-00"
			}
			for name, want := range map[string]string{
				"x-datadog-trace-id": datadogID, "x-datadog-parent-id": "2748", "x-datadog-sampling-priority": tc.priority, "x-datadog-tags": tc.tags,
				"traceparent": "00-" + tc.traced + "-0000000000000abc" + flags, "tracestate": strings.Replace(tc.state, ";p:", ";p:0000000000000abc", 1),
			} {
				if got := value(h, name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

// TestDatadogBegins: what is damaged begins a new trace, as what has none does.
func TestDatadogBegins(t *testing.T) {
	parent := "00-" + trace + "-a2fb4a1d1a96d312-01"
	for name, in := range map[string][]string{
		"nothing":                  {},
		"B3":                       {"x-b3-traceid", trace, "x-b3-spanid", span},
		"no parent":                {"x-datadog-trace-id", "5"},
		"no trace":                 {"x-datadog-parent-id", "5"},
		"trace 0":                  {"x-datadog-trace-id", "0", "x-datadog-parent-id", "5"},
		"no number":                {"x-datadog-trace-id", "12x", "x-datadog-parent-id", "5"},
		"a damaged parent":         {"x-datadog-trace-id", "12", "x-datadog-parent-id", "-5"},
		"a damaged priority":       {"x-datadog-trace-id", "12", "x-datadog-parent-id", "5", "x-datadog-sampling-priority", "+1"},
		"too large":                {"x-datadog-trace-id", "18446744073709551616", "x-datadog-parent-id", "5"},
		"too large a priority":     {"x-datadog-trace-id", "12", "x-datadog-parent-id", "5", "x-datadog-sampling-priority", "2147483648"},
		"damaged, beside W3C":      {"x-datadog-trace-id", "x", "traceparent", parent},
		"a tracestate alone":       {"tracestate", "dd=s:2"},
		"a short traceparent":      {"traceparent", parent[:54]},
		"a traceparent of trace 0": {"traceparent", "00-" + strings.Repeat("0", 32) + parent[35:]},
	} {
		h := headers(in...)
		c, had, _ := datadogPolicy(100, -1).Start(h, &numbers{0x1234}, nil)
		if had || c.TraceHigh != 0x6b0de53a00000000 || c.TraceLow != 0x1234 || c.Span != 0x1234 || c.Parent != 0 {
			t.Errorf("%s: %+v, %v", name, c, had)
		}
		if tags, id := value(h, "x-datadog-tags"), value(h, "x-datadog-trace-id"); tags != "_dd.p.tid=6b0de53a00000000,_dd.p.dm=-0" || id != "4660" {
			t.Errorf("%s: tags %q, trace %q", name, tags, id)
		}
	}
}

func TestDatadogSampling(t *testing.T) {
	const keeps, drops = "1", "2" // their hashes are 0.06 and 0.12 of the greatest
	for _, tc := range []struct {
		name     string
		id       string
		percent  float64
		rate     told
		priority string
		tags     string
		reported float64
	}{
		{"by default", keeps, 100, -1, "1", "_dd.p.dm=-0", 1},
		{"all", drops, 100, 1, "1", "_dd.p.dm=-1,_dd.p.ksr=1", 1},
		{"kept by the agent's rate", keeps, 100, 0.1, "1", "_dd.p.dm=-1,_dd.p.ksr=0.1", 0.1},
		{"dropped by the agent's rate", drops, 100, 0.1, "0", "_dd.p.ksr=0.1", 0.1},
		{"none", keeps, 100, 0, "0", "_dd.p.ksr=0", 0},
		{"a rate of many digits", keeps, 100, 0.1234567, "1", "_dd.p.dm=-1,_dd.p.ksr=0.123457", 0.1234567},
		{"a rate of next to nothing", drops, 100, 0.0000001, "0", "_dd.p.ksr=0", 0.0000001},
		{"not by the configuration", keeps, 0, 1, "-1", "", -1},
	} {
		h := headers("x-datadog-trace-id", tc.id, "x-datadog-parent-id", "5")
		c, _, _ := datadogPolicy(tc.percent, tc.rate).Start(h, &numbers{1}, nil)
		if p, tags := value(h, "x-datadog-sampling-priority"), value(h, "x-datadog-tags"); p != tc.priority || tags != tc.tags || c.Datadog.Rate != tc.reported {
			t.Errorf("%s: priority %s, tags %q, rate %v", tc.name, p, tags, c.Datadog.Rate)
		}
		if want := tc.percent > 0; c.Wanted() != want {
			t.Errorf("%s: wanted %v", tc.name, !want)
		}
	}
}

// TestDatadogCopies: a call and a mirrored copy have spans of their own, and the copy a decision.
func TestDatadogCopies(t *testing.T) {
	h := headers()
	c, _, _ := NewPolicy(&xdsresource.Tracing{RandomSampling: 100, OverallSampling: 100, SpawnUpstreamSpan: true, Provider: &xdsresource.Datadog{}}, xdsresource.DirectionInbound, false).
		Start(h, &numbers{7, 8}, nil)
	if c.Span != 7 || c.Call != 8 || value(h, "x-datadog-parent-id") != "8" || c.Datadog.Root != 7 {
		t.Errorf("%+v, the upstream was told %s", c, value(h, "x-datadog-parent-id"))
	}
	m, no := &header.Map{}, false
	h.CopyTo(m)
	c.Mirror(m, &numbers{9}, &no)
	if value(m, "x-datadog-parent-id") != "9" || value(m, "x-datadog-sampling-priority") != "-1" || value(m, "x-datadog-tags") != "_dd.p.tid=6b0de53a00000000" {
		t.Errorf("the copy has parent %s, priority %s, tags %s", value(m, "x-datadog-parent-id"), value(m, "x-datadog-sampling-priority"), value(m, "x-datadog-tags"))
	}
	if value(h, "x-datadog-sampling-priority") != "1" || c.Datadog.Priority != 1 || len(c.Datadog.Tags) != 2 {
		t.Errorf("the request itself was changed: %+v", c.Datadog)
	}
}

// FuzzDatadog: whatever comes, what goes out is well-formed, bounded and of one trace.
func FuzzDatadog(f *testing.F) {
	parent := "00-" + trace + "-a2fb4a1d1a96d312-01"
	f.Add("123", "456", "1", "rum", "_dd.p.tid="+high+",_dd.p.dm=-4", parent, "a=1,dd=s:2;p:00f067aa0ba902b7;o:x~y;t.dm:-4;t.ts:02;q:r,b=2")
	f.Add("", "", "", "", "", parent, "dd=")
	f.Add("5", "0", "-1", "", "_dd.p.a=1,", "cc-"+parent[3:]+"-more", ",,")
	f.Add("x", "", "+1", "", ",", "ff-"+parent[3:], "dd=s:1,dd=s:2")
	f.Fuzz(func(t *testing.T, id, up, priority, origin, tags, traceparent, tracestate string) {
		h := headers("x-datadog-trace-id", id, "x-datadog-parent-id", up, "x-datadog-sampling-priority", priority, "x-datadog-origin", origin, "x-datadog-tags", tags,
			"traceparent", traceparent, "tracestate", tracestate)
		for _, name := range []string{"x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-sampling-priority", "x-datadog-origin", "x-datadog-tags", "traceparent", "tracestate"} {
			if value(h, name) == "" { // the fuzzer's word for a header that is not there
				h.RemoveName(name)
			}
		}
		c, _, _ := datadogPolicy(100, 0.5).Start(h, &numbers{0xabc}, nil)
		d := c.Datadog
		if n := d.tagsLen(); n <= maxTags && n > 0 && len(value(h, "x-datadog-tags")) != n {
			t.Errorf("%d bytes of tags: %q", n, value(h, "x-datadog-tags"))
		}
		member, _, _ := strings.Cut(value(h, "tracestate"), ",")
		if !strings.HasPrefix(member, "dd=s:") || len(member) > maxMember {
			t.Errorf("tracestate %q", member)
		}
		again := extractDatadogW3C(h)
		if again.w3cTrouble != "" || again.high != c.TraceHigh || again.low != c.TraceLow || again.parent != c.Span || again.priority != d.Priority {
			if c.TraceHigh|c.TraceLow != 0 {
				t.Errorf("%+v was written as %q, %q: %+v", c, value(h, "traceparent"), value(h, "tracestate"), again)
			}
		}
		own, ok := extractDatadogOwn(h)
		if !ok || own.low != c.TraceLow || own.parent != c.Span || own.priority != d.Priority {
			t.Errorf("%+v was written as %+v", c, own)
		}
	})
}
