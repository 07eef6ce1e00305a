package tracing

import (
	"math"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// Priorities of Datadog's: what a trace's sampling decision says. What is above 0 is kept; the agent counts the rest, too.
const (
	userDrop int32 = -1 // told so by the configuration
	autoDrop int32 = 0  // by the agent's rates
	autoKeep int32 = 1
)

// Tags that travel with a trace begin with this; in a tracestate with "t." instead.
const travelling = "_dd.p."

// Tags that the tracer itself sets.
const (
	highTag   = travelling + "tid" // the high half of the trace id
	makerTag  = travelling + "dm"  // the mechanism that has decided to keep the trace
	rateTag   = travelling + "ksr" // the rate that it was kept with
	sourceTag = travelling + "ts"  // the products that want the trace
)

// Datadog is what a context has beside its ids where it travels as Datadog's tracers have it. All spans of a request share it: they
// are one segment of the trace. It follows dd-trace-cpp 2.1.1, which is Envoy's tracer (https://github.com/DataDog/dd-trace-cpp).
type Datadog struct {
	Root     uint64 // the span of the request; others are below it
	Priority int32
	// Rate is the share of traces that the decision made here has kept; negative: it was not made by rates, or not here.
	Rate float64
	// Tags travel with the trace, under their whole names. Source is one of them that does not come first; "" for none.
	Tags   []Tag
	Source string
	// Origin says what began the trace, such as "synthetics".
	Origin    string
	HasOrigin bool
	// LastParent is the last span of Datadog's that the tracestate names, of 16 digits; it is reported.
	LastParent    string
	HasLastParent bool
	// Trouble and W3CTrouble say what was wrong with headers; they are reported.
	Trouble, W3CTrouble string

	more   string // what the tracestate has of Datadog's that is not known
	others string // and of others

	// Calls are spans below that of the request, which wait for its end, and Ended is true from there on. They are the reporter's.
	Calls []*Span
	Ended bool
}

// Rates are what Datadog's agent has told about sampling.
type Rates interface {
	// Rate is the share of new traces that are to be kept; false: it has not told any, and all are kept.
	Rate() (rate float64, told bool)
}

// startDatadog is Start for Datadog's headers. Every request gets a span of its own, and every one is reported: what the configuration
// does not want traced has a priority that says so.
func (p Policy) startDatadog(h *header.Map, r Worker) (c Context, had bool, why Reason) {
	in, had := extractDatadog(h)
	why = p.decide(h, r)
	if had {
		c = Context{TraceHigh: in.high, TraceLow: in.low, Parent: in.parent, Span: max(r.Rand(), 1)}
	} else {
		in.decided = false
		c = New(uint64(uint32(r.WallNow().Unix()))<<32, r.Rand(), Undecided)
	}
	d := in.state(c.TraceHigh, had)
	d.Root = c.Span
	c.Sampling = Sampled
	if why == NotTraceable {
		c.Sampling = NotSampled
	}
	switch {
	case in.decided:
		d.Priority = in.priority
	case why == NotTraceable:
		d.drop()
	default:
		d.sample(p.rates, c.TraceLow)
	}
	c.Format, c.Datadog = DatadogHeaders, d
	if p.spawn {
		c.Call = max(r.Rand(), 1)
	}
	if !p.silent {
		c.Inject(h)
	}
	return c, had, why
}

// drop is the decision not to keep the trace, whatever was said before.
func (d *Datadog) drop() {
	d.Priority = userDrop
	d.removeTag(makerTag)
}

// sample decides by the agent's rates and the trace's id, so that all tracers with equal rates decide alike.
func (d *Datadog) sample(rates Rates, low uint64) {
	rate, told := 1.0, false
	if rates != nil {
		if r, ok := rates.Rate(); ok {
			rate, told = r, true
		}
	}
	d.Rate = rate
	const factor = 1111111111111111111 // Knuth's multiplicative hash, as all of Datadog's tracers have it
	if low*factor <= threshold(rate) {
		d.Priority = autoKeep
		maker := "-0" // by default
		if told {
			maker = "-1" // by the agent's rates
		}
		d.setTag(makerTag, maker)
	} else {
		d.Priority = autoDrop
		d.removeTag(makerTag)
	}
	if told {
		d.setTag(rateTag, rateText(rate))
	}
}

// threshold is the greatest hash of a trace that is kept.
func threshold(rate float64) uint64 {
	if rate >= 1 {
		return math.MaxUint64
	}
	return uint64(max(rate, 0) * math.MaxUint64)
}

// rateText has six digits behind the point at most, and no zeros at the end.
func rateText(rate float64) string {
	s := strconv.FormatFloat(rate, 'f', 6, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// dropped is the state of a copy of the request that is not to be kept.
func (d *Datadog) dropped() *Datadog {
	out := *d
	out.Tags, out.Calls = append([]Tag(nil), d.Tags...), nil
	out.drop()
	return &out
}

func (d *Datadog) setTag(name, value string) {
	for i := range d.Tags {
		if d.Tags[i].Key == name {
			d.Tags[i].Value = value
			return
		}
	}
	d.Tags = append(d.Tags, Tag{name, value})
}

func (d *Datadog) removeTag(name string) {
	for i := range d.Tags {
		if d.Tags[i].Key == name {
			d.Tags = append(d.Tags[:i], d.Tags[i+1:]...)
			return
		}
	}
}
