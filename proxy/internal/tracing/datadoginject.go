package tracing

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// maxMember is how long Datadog's member of a tracestate is at most, in bytes; what is behind is cut off at a semicolon.
const maxMember = 256

// injectDatadog writes Datadog's own headers and W3C's. What there is nothing to say of stays as it came.
func (c Context) injectDatadog(h *header.Map) {
	d := c.Datadog
	h.SetBuilt(datadogTrace, strconv.AppendUint(h.Build(), c.TraceLow, 10))
	h.SetBuilt(datadogParent, strconv.AppendUint(h.Build(), c.Span, 10))
	h.SetBuilt(datadogPriority, strconv.AppendInt(h.Build(), int64(d.Priority), 10))
	if d.HasOrigin {
		h.SetKeyString(datadogOrigin, d.Origin)
	}
	switch n := d.tagsLen(); {
	case n > maxTags:
		d.Trouble = "inject_max_size"
	case n > 0:
		h.SetBuilt(datadogTags, d.appendTags(h.Build()))
	}
	b := append64(append64(append(h.Build(), "00-"...), c.TraceHigh), c.TraceLow)
	b = append64(append(b, '-'), c.Span)
	if d.Priority > 0 {
		b = append(b, "-01"...)
	} else {
		b = append(b, "-00"...)
	}
	h.SetBuilt(parentOfCall, b)
	b = d.appendMember(h.Build(), c.Span)
	if d.others != "" {
		b = append(append(b, ','), d.others...)
	}
	h.SetBuilt(stateOfCall, b)
}

// tagsLen is the length of what appendTags appends.
func (d *Datadog) tagsLen() (n int) {
	for i := range d.Tags {
		n += len(d.Tags[i].Key) + len(d.Tags[i].Value) + 2
	}
	if d.Source != "" {
		n += len(sourceTag) + len(d.Source) + 2
	}
	return max(n-1, 0) // the last has no comma
}

func (d *Datadog) appendTags(b []byte) []byte {
	start := len(b)
	add := func(name, value string) {
		if len(b) > start {
			b = append(b, ',')
		}
		b = append(append(append(b, name...), '='), value...)
	}
	for i := range d.Tags {
		add(d.Tags[i].Key, d.Tags[i].Value)
	}
	if d.Source != "" {
		add(sourceTag, d.Source)
	}
	return b
}

// appendMember appends Datadog's member of a tracestate.
func (d *Datadog) appendMember(b []byte, span uint64) []byte {
	start := len(b)
	b = strconv.AppendInt(append(b, "dd=s:"...), int64(d.Priority), 10)
	b = append64(append(b, ";p:"...), span)
	if d.HasOrigin {
		b = appendEncoded(append(b, ";o:"...), d.Origin)
	}
	add := func(name, value string) {
		b = append(b, ";t."...)
		for i := range len(name) {
			if c := name[i]; c <= ' ' || c > '~' || c == ',' || c == ';' || c == '=' {
				b = append(b, '_')
			} else {
				b = append(b, c)
			}
		}
		b = appendEncoded(append(b, ':'), value)
	}
	for i := range d.Tags {
		if d.Tags[i].Key != highTag { // traceparent has it
			add(strings.TrimPrefix(d.Tags[i].Key, travelling), d.Tags[i].Value)
		}
	}
	if d.Source != "" {
		add(strings.TrimPrefix(sourceTag, travelling), d.Source)
	}
	if d.more != "" {
		b = append(append(b, ';'), d.more...)
	}
	for len(b)-start > maxMember {
		b = b[:start+bytes.LastIndexByte(b[start:], ';')]
	}
	return b
}

// appendEncoded appends a value as a tracestate may have it: "=" is written "~".
func appendEncoded(b []byte, v string) []byte {
	for i := range len(v) {
		switch c := v[i]; {
		case c == '=':
			b = append(b, '~')
		case c < ' ' || c > '~' || c == ',' || c == ';' || c == '~':
			b = append(b, '_')
		default:
			b = append(b, c)
		}
	}
	return b
}
