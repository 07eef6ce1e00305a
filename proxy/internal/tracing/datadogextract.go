package tracing

import (
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// Datadog's headers.
var (
	datadogTrace    = header.KeyOf("x-datadog-trace-id")
	datadogParent   = header.KeyOf("x-datadog-parent-id")
	datadogPriority = header.KeyOf("x-datadog-sampling-priority")
	datadogOrigin   = header.KeyOf("x-datadog-origin")
	datadogTags     = header.KeyOf("x-datadog-tags")
	stateOfCall     = header.KeyOf("tracestate")
)

// maxTags is how long x-datadog-tags may be, in bytes. A longer one is not read, and none is written.
const maxTags = 512

// extracted is what the headers of one style say. A request may have both.
type extracted struct {
	high, low, parent            uint64
	hasTrace, hasParent, decided bool
	priority                     int32
	tags                         []Tag
	origin                       string
	hasOrigin                    bool
	more, others, lastParent     string
	full, hasLastParent          bool // full: more has no room
	trouble, w3cTrouble          string
}

// extractDatadog reads Datadog's own headers, and W3C's where those name no trace. Of both, where they are of the same trace, Datadog's
// count, but for the parent: W3C's is the last that anybody made. A damaged number makes it as if nothing had been sent; false.
func extractDatadog(h *header.Map) (extracted, bool) {
	d, ok := extractDatadogOwn(h)
	if !ok {
		return extracted{}, false
	}
	w := extractDatadogW3C(h)
	out := d
	switch {
	case !d.hasTrace && !w.hasTrace:
		return extracted{}, false
	case !d.hasTrace:
		out = w
		out.trouble = d.trouble
	case w.hasTrace && w.high == d.high && w.low == d.low:
		out.more, out.others = w.more, w.others
		if !d.hasParent || d.parent != w.parent {
			switch {
			case w.lastParent != noParent:
				out.lastParent, out.hasLastParent = w.lastParent, true
			case d.hasParent:
				out.lastParent, out.hasLastParent = string(append64(nil, d.parent)), true
			}
			out.parent, out.hasParent = w.parent, true
		}
	}
	out.w3cTrouble = w.w3cTrouble
	if out.high|out.low == 0 || !out.hasParent && !out.hasOrigin {
		return extracted{}, false
	}
	return out, true
}

// noParent is the parent of a tracestate that names none.
const noParent = "0000000000000000"

// extractDatadogOwn reads x-datadog-*; false: something of it is no number.
func extractDatadogOwn(h *header.Map) (out extracted, ok bool) {
	if v, have := h.GetKey(datadogTrace); have {
		if out.low, ok = decimal(v); !ok {
			return out, false
		}
		out.hasTrace = true
	}
	if v, have := h.GetKey(datadogParent); have {
		if out.parent, ok = decimal(v); !ok {
			return out, false
		}
		out.hasParent = true
	}
	if v, have := h.GetKey(datadogPriority); have {
		if out.priority, ok = priority(string(v)); !ok {
			return out, false
		}
		out.decided = true
	}
	if v, have := h.GetKey(datadogOrigin); have {
		out.origin, out.hasOrigin = string(v), true
	}
	if v, have := h.GetKey(datadogTags); have {
		out.readTags(v)
	}
	return out, true
}

// readTags reads "name=value,name=value". What is no tag anywhere makes all of it none.
func (x *extracted) readTags(v []byte) {
	if len(v) > maxTags {
		x.trouble = "extract_max_size"
		return
	}
	if len(v) == 0 {
		return
	}
	for pair := range strings.SplitSeq(strings.TrimSuffix(string(v), ","), ",") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			x.tags, x.high, x.trouble = nil, 0, "decoding_error"
			return
		}
		if !strings.HasPrefix(name, travelling) {
			continue
		}
		if name == highTag {
			high, ok := halfID(value)
			if !ok {
				x.trouble = "malformed_tid " + value
				continue
			}
			x.high = high
		}
		x.tags = append(x.tags, Tag{name, value})
	}
}

// extractDatadogW3C reads traceparent and tracestate as Datadog does.
func extractDatadogW3C(h *header.Map) (out extracted) {
	v, have := h.Get(header.Traceparent)
	if !have {
		return out
	}
	if out.w3cTrouble = out.readTraceparent(trim(string(v))); out.w3cTrouble != "" {
		return extracted{w3cTrouble: out.w3cTrouble}
	}
	out.hasTrace, out.hasParent, out.decided = true, true, true
	out.lastParent, out.hasLastParent = noParent, true
	if v, have := h.Get(header.Tracestate); have {
		out.readTracestate(trim(string(v)))
	}
	return out
}

// readTraceparent returns what is wrong with it, as Datadog names that; "" for nothing.
func (x *extracted) readTraceparent(v string) string {
	const whole = 55 // of version 00
	if len(v) < whole {
		return "malformed_traceparent"
	}
	if _, ok := hexadecimal(v[:2]); !ok || v[:2] == "ff" || v[2] != '-' {
		return "invalid_version"
	}
	high, ok1 := halfID(v[3:19])
	low, ok2 := halfID(v[19:35])
	if !ok1 || !ok2 || high|low == 0 || v[35] != '-' {
		return "malformed_traceid"
	}
	parent, ok := halfID(v[36:52])
	if !ok || parent == 0 || v[52] != '-' {
		return "malformed_parentid"
	}
	flags, ok := hexadecimal(v[53:whole])
	if !ok {
		return "malformed_traceflags"
	}
	if len(v) > whole && (v[:2] == "00" || v[whole] != '-') {
		return "malformed_traceparent"
	}
	x.high, x.low, x.parent, x.priority = high, low, parent, int32(flags&1)
	return ""
}

// readTracestate reads Datadog's member, and keeps the others as they are.
func (x *extracted) readTracestate(v string) {
	x.others = v
	for at := 0; at < len(v); {
		end, next := len(v), len(v)
		if i := strings.IndexByte(v[at:], ','); i >= 0 {
			end, next = at+i, at+i+1
		}
		if own, ok := strings.CutPrefix(trim(v[at:end]), "dd="); ok {
			switch {
			case at > 0 && next < len(v):
				x.others = v[:at-1] + v[end:]
			case at > 0:
				x.others = v[:at-1]
			default:
				x.others = v[next:]
			}
			x.readMember(own)
			return
		}
		at = next
	}
}

// readMember reads "name:value;name:value". The decision of a traceparent is refined by it and never turned. What could not be passed on for
// its length is not kept.
func (x *extracted) readMember(v string) {
	kept, tags := x.priority > 0, 0
	for pair := range strings.SplitSeq(v, ";") {
		name, value, ok := strings.Cut(pair, ":")
		if !ok {
			continue
		}
		switch {
		case name == "o":
			x.origin, x.hasOrigin = strings.ReplaceAll(value, "~", "="), true
		case name == "s":
			if n, ok := priority(value); ok && n > 0 == kept {
				x.priority = n
			}
		case name == "p":
			x.lastParent = value
		case strings.HasPrefix(name, "t."):
			if tags <= maxTags {
				x.tags = append(x.tags, Tag{travelling + name[2:], strings.ReplaceAll(value, "~", "=")})
				tags += len(travelling) + len(name) + len(value)
			}
		case len(x.more)+len(pair) > maxMember:
			x.full = true
		case !x.full:
			if x.more != "" {
				x.more += ";"
			}
			x.more += pair
		}
	}
}

// state is what the segment of a request keeps of it. The trace's id, which may have a high half, is right where a tag is not.
func (x *extracted) state(high uint64, had bool) *Datadog {
	if !had {
		return &Datadog{Rate: -1, Tags: []Tag{{highTag, string(append64(nil, high))}}}
	}
	d := &Datadog{
		Rate: -1, Tags: x.tags, Origin: x.origin, HasOrigin: x.hasOrigin, LastParent: x.lastParent, HasLastParent: x.hasLastParent,
		Trouble: x.trouble, W3CTrouble: x.w3cTrouble, more: x.more, others: x.others,
	}
	if high != 0 {
		d.checkHigh(high)
	}
	for _, t := range d.Tags {
		if t.Key == sourceTag {
			d.Source = t.Value
			d.removeTag(sourceTag)
			break
		}
	}
	return d
}

func (d *Datadog) checkHigh(high uint64) {
	right := string(append64(nil, high))
	for i := range d.Tags {
		t := &d.Tags[i]
		if t.Key != highTag {
			continue
		}
		if n, ok := halfID(t.Value); !ok {
			d.Trouble, t.Value = "malformed_tid "+t.Value, right
		} else if n != high {
			d.Trouble, t.Value = "inconsistent_tid "+t.Value, right
		}
		return
	}
	d.Tags = append(d.Tags, Tag{highTag, right})
}

func trim(v string) string { return strings.Trim(v, " \t\n\v\f\r") }

// decimal reads an id: digits alone.
func decimal(v []byte) (uint64, bool) {
	n, err := strconv.ParseUint(trim(string(v)), 10, 64)
	return n, err == nil
}

// priority reads a number that may be negative; Datadog's own are those from -1 to 2, and others travel as they are.
func priority(v string) (int32, bool) {
	v = trim(v)
	if strings.HasPrefix(v, "+") {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 32)
	return int32(n), err == nil
}

// halfID reads sixteen hexadecimal digits.
func halfID(v string) (n uint64, ok bool) {
	if len(v) != 16 {
		return 0, false
	}
	return hexadecimal(v)
}

func hexadecimal(v string) (uint64, bool) {
	if strings.ContainsAny(v, "+-_") {
		return 0, false
	}
	n, err := strconv.ParseUint(v, 16, 64)
	return n, err == nil
}
