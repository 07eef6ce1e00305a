package datadog

import (
	"cmp"
	"strings"

	"github.com/tinylib/msgp/msgp"

	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

const (
	// operation is the name of all spans; what the mesh calls their names is Datadog's resource.
	operation = "envoy.proxy"
	language  = "go"
)

// encoder writes reports.
type encoder struct {
	cfg *xdsresource.Datadog
	common
}

// common is the same in all spans.
type common struct {
	process string
	program string // its name and version
	pid     float64
}

// report is an array of segments, which are arrays of spans.
func (e *encoder) report(batch []*segment) []byte {
	b := msgp.AppendArrayHeader(nil, uint32(len(batch)))
	for _, s := range batch {
		b = msgp.AppendArrayHeader(b, uint32(len(s.spans)))
		for i, span := range s.spans {
			b = e.appendSpan(b, s, span, i == 0)
		}
	}
	return b
}

// appendSpan appends a span. The first of a segment has what was decided of it.
func (e *encoder) appendSpan(b []byte, seg *segment, s *tracing.Span, first bool) []byte {
	m := e.describe(seg, s, first)
	b = msgp.AppendMapHeader(b, 12)
	text := func(name, value string) {
		b = msgp.AppendString(msgp.AppendString(b, name), strings.ToValidUTF8(value, "!"))
	}
	number := func(name string, n uint64) { b = msgp.AppendUint64(msgp.AppendString(b, name), n) }
	text("service", e.cfg.Service)
	text("name", operation)
	text("resource", m.resource)
	number("trace_id", s.TraceLow)
	number("span_id", s.Span)
	number("parent_id", s.Parent)
	number("start", uint64(s.Start.UnixNano()))
	number("duration", uint64(max(s.Duration, 0)))
	number("error", m.failed)
	b = msgp.AppendMapSorted(msgp.AppendString(b, "meta"), m.meta, msgp.AppendString, func(b []byte, v string) []byte {
		return msgp.AppendString(b, strings.ToValidUTF8(v, "!"))
	})
	b = msgp.AppendMapSorted(msgp.AppendString(b, "metrics"), m.metrics, msgp.AppendString, msgp.AppendFloat64)
	text("type", "web")
	return b
}

// description is what a span is told by beside its numbers.
type description struct {
	resource string
	failed   uint64 // 1 for true
	meta     map[string]string
	metrics  map[string]float64
}

// describe takes a span's tags apart: a few of Envoy's are fields of Datadog's.
func (e *encoder) describe(seg *segment, s *tracing.Span, first bool) description {
	m := description{resource: s.Name, metrics: map[string]float64{"process_id": e.pid}}
	m.meta = make(map[string]string, len(s.Tags)+8)
	m.meta["version"] = cmp.Or(e.cfg.Version, e.program)
	if e.cfg.Env != "" {
		m.meta["env"] = e.cfg.Env
	}
	d := &seg.of
	root := s.Span == d.Root
	if root {
		e.note(m.meta, d)
	}
	for _, t := range s.Tags {
		switch t.Key {
		case "resource.name":
			m.resource = t.Value
		case "error":
			if t.Value == "true" {
				m.failed = 1
			}
		case "error.reason":
			m.failed = 1
			m.meta["error.message"] = t.Value
			m.meta[t.Key] = t.Value
		default:
			m.meta[t.Key] = t.Value
		}
	}
	if root {
		for _, t := range d.Tags {
			if _, ok := m.meta[t.Key]; !ok { // a configured tag goes before
				m.meta[t.Key] = t.Value
			}
		}
		if d.Rate >= 0 {
			m.metrics["_dd.agent_psr"] = d.Rate
		}
	}
	if first {
		m.metrics["_sampling_priority_v1"] = float64(d.Priority)
	}
	if d.HasOrigin {
		m.meta["_dd.origin"] = d.Origin
	}
	m.meta["language"], m.meta["runtime-id"] = language, e.process
	return m
}

// note tells what the headers of the request said, and what was wrong with them.
func (e *encoder) note(meta map[string]string, d *tracing.Datadog) {
	if d.Source != "" {
		meta["_dd.p.ts"] = d.Source
	}
	if d.HasLastParent {
		meta["_dd.parent_id"] = d.LastParent
	}
	if d.Trouble != "" {
		meta["_dd.propagation_error"] = d.Trouble
	}
	if d.W3CTrouble != "" {
		meta["_dd.w3c_extraction_error"] = d.W3CTrouble
	}
}
