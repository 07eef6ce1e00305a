package zipkin

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
)

type endpoint struct {
	Service string `json:"serviceName,omitempty"`
	IPv4    string `json:"ipv4,omitempty"`
	IPv6    string `json:"ipv6,omitempty"`
	Port    uint16 `json:"port"` // 0: it has none of its own, as Envoy says, too
}

type annotation struct {
	Timestamp int64  `json:"timestamp"`
	Value     string `json:"value"`
}

type span struct {
	TraceID     string            `json:"traceId"`
	ID          string            `json:"id"`
	ParentID    string            `json:"parentId,omitempty"`
	Kind        string            `json:"kind"`
	Name        string            `json:"name"`
	Timestamp   int64             `json:"timestamp"`
	Duration    int64             `json:"duration"`
	Local       endpoint          `json:"localEndpoint"`
	Annotations []annotation      `json:"annotations,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Debug       bool              `json:"debug,omitempty"`
	Shared      bool              `json:"shared,omitempty"`
}

func kind(s *tracing.Span) string {
	if s.Server {
		return "SERVER"
	}
	return "CLIENT"
}

// end is how Zipkin's first format names the end of a span: what a server has sent, or a client received. Envoy has it, though the
// second format tells the end by the duration.
func end(s *tracing.Span) string {
	if s.Server {
		return "ss"
	}
	return "cr"
}

// shared marks spans whose id the caller's side may report, too: all of servers, where the configuration lets them join.
func (r *Reporter) shared(s *tracing.Span) bool { return r.cfg.SharedSpan && s.Server }

// micros is a duration or time in microseconds; Zipkin wants at least one.
func duration(s *tracing.Span) int64 { return max(s.Duration.Microseconds(), 1) }

func (r *Reporter) json(batch []*tracing.Span) ([]byte, error) {
	local := endpoint{Service: r.deps.ServiceName}
	switch a := r.deps.Address; {
	case a.Is4():
		local.IPv4 = a.String()
	case a.Is6():
		local.IPv6 = a.String()
	}
	out := make([]span, 0, len(batch))
	for _, s := range batch {
		x := span{
			TraceID: string(s.AppendTraceID(nil)), ID: string(s.AppendSpanID(nil)), Kind: kind(s), Name: s.Name,
			Timestamp: s.Start.UnixMicro(), Duration: duration(s), Local: local, Tags: tags(s), Debug: s.Sampling == tracing.Debug, Shared: r.shared(s),
		}
		if s.Parent != 0 {
			x.ParentID = fmt.Sprintf("%016x", s.Parent)
		}
		for _, e := range s.Events {
			x.Annotations = append(x.Annotations, annotation{e.At.UnixMicro(), e.Name})
		}
		x.Annotations = append(x.Annotations, annotation{s.Start.Add(s.Duration).UnixMicro(), end(s)})
		out = append(out, x)
	}
	return json.Marshal(out)
}

func tags(s *tracing.Span) map[string]string {
	out := make(map[string]string, len(s.Tags))
	for _, t := range s.Tags {
		out[t.Key] = strings.ToValidUTF8(t.Value, "!")
	}
	return out
}

// Field numbers of zipkin.proto (https://github.com/openzipkin/zipkin-api/blob/master/zipkin.proto).
const (
	listSpans = 1

	spanTraceID    = 1
	spanParentID   = 2
	spanID         = 3
	spanKind       = 4
	spanName       = 5
	spanTimestamp  = 6
	spanDuration   = 7
	spanLocal      = 8
	spanAnnotation = 10
	spanTags       = 11
	spanDebug      = 12
	spanShared     = 13

	kindClient, kindServer = 1, 2
)

// appendProto appends a span as an element of a ListOfSpans.
func (r *Reporter) appendProto(dst []byte, s *tracing.Span) []byte {
	var b []byte
	bytesField := func(to []byte, n protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(to, n, protowire.BytesType), v)
	}
	var id []byte
	if s.TraceHigh != 0 {
		id = binary.BigEndian.AppendUint64(id, s.TraceHigh)
	}
	b = bytesField(b, spanTraceID, binary.BigEndian.AppendUint64(id, s.TraceLow))
	if s.Parent != 0 {
		b = bytesField(b, spanParentID, binary.BigEndian.AppendUint64(nil, s.Parent))
	}
	b = bytesField(b, spanID, binary.BigEndian.AppendUint64(nil, s.Span))
	k := uint64(kindClient)
	if s.Server {
		k = kindServer
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, spanKind, protowire.VarintType), k)
	b = bytesField(b, spanName, []byte(s.Name))
	b = protowire.AppendFixed64(protowire.AppendTag(b, spanTimestamp, protowire.Fixed64Type), uint64(s.Start.UnixMicro()))
	b = protowire.AppendVarint(protowire.AppendTag(b, spanDuration, protowire.VarintType), uint64(duration(s)))
	local := bytesField(nil, 1, []byte(r.deps.ServiceName))
	switch a := r.deps.Address; {
	case a.Is4():
		local = bytesField(local, 2, a.AsSlice())
	case a.Is6():
		local = bytesField(local, 3, a.AsSlice())
	}
	b = bytesField(b, spanLocal, local)
	annotate := func(at time.Time, name string) {
		x := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), uint64(at.UnixMicro()))
		b = bytesField(b, spanAnnotation, bytesField(x, 2, []byte(name)))
	}
	for _, e := range s.Events {
		annotate(e.At, e.Name)
	}
	annotate(s.Start.Add(s.Duration), end(s))
	for _, t := range s.Tags {
		b = bytesField(b, spanTags, bytesField(bytesField(nil, 1, []byte(t.Key)), 2, []byte(strings.ToValidUTF8(t.Value, "!"))))
	}
	flag := func(n protowire.Number, v bool) {
		if v {
			b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), 1)
		}
	}
	flag(spanDebug, s.Sampling == tracing.Debug)
	flag(spanShared, r.shared(s))
	return bytesField(dst, listSpans, b)
}
