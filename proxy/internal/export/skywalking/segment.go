package skywalking

import (
	"cmp"
	"slices"
	"strings"
	"time"

	commonpb "skywalking.apache.org/repo/goapi/collect/common/v3"
	agentpb "skywalking.apache.org/repo/goapi/collect/language/agent/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
)

// envoyProxy is the component that a service of Envoy's kind is. https://github.com/apache/skywalking/blob/master/oap-server/server-starter/src/main/resources/component-libraries.yml
const envoyProxy = 9000

// noParent is the parent of a segment's first span.
const noParent = -1

// segment is the message of a request's span and of the spans of its calls.
func segment(own *tracing.Span) *agentpb.SegmentObject {
	s := own.Segment
	entry := span(own, 0, noParent, agentpb.SpanType_Entry)
	if c := s.Caller; c != nil {
		entry.Refs = []*agentpb.SegmentReference{{
			RefType: agentpb.RefType_CrossProcess, TraceId: c.Trace, ParentTraceSegmentId: c.Segment, ParentSpanId: c.Span,
			ParentService: c.Service, ParentServiceInstance: c.Instance, ParentEndpoint: c.Endpoint, NetworkAddressUsedAtPeer: c.Address,
		}}
	}
	out := &agentpb.SegmentObject{
		TraceId: s.Trace, TraceSegmentId: s.ID, Service: valid(s.Service()), ServiceInstance: valid(s.Instance()), Spans: []*agentpb.SpanObject{entry},
	}
	for _, call := range s.Calls {
		out.Spans = append(out.Spans, span(call, int32(call.Span), entry.SpanId, agentpb.SpanType_Exit))
	}
	// An attempt that was begun earlier may end later.
	slices.SortStableFunc(out.Spans, func(a, b *agentpb.SpanObject) int { return cmp.Compare(a.SpanId, b.SpanId) })
	return out
}

func span(s *tracing.Span, id, parent int32, kind agentpb.SpanType) *agentpb.SpanObject {
	out := &agentpb.SpanObject{
		SpanId: id, ParentSpanId: parent, StartTime: s.Start.UnixMilli(), EndTime: s.Start.Add(s.Duration).UnixMilli(), OperationName: valid(s.Name),
		SpanType: kind, SpanLayer: agentpb.SpanLayer_Http, ComponentId: envoyProxy, Tags: make([]*commonpb.KeyStringValuePair, 0, len(s.Tags)),
	}
	for _, t := range s.Tags {
		key, value := t.Key, valid(t.Value)
		switch key {
		case "peer.address":
			out.Peer = value
			continue
		case "http.url":
			key = "url"
		case "http.status_code":
			key = "status_code"
		case "error":
			out.IsError = true
		}
		out.Tags = append(out.Tags, pair(key, value))
	}
	for _, e := range s.Events {
		out.Logs = append(out.Logs, event(e.At, e.Name))
	}
	return out
}

// event is an entry of a span's log, whose one value has no name.
func event(at time.Time, name string) *agentpb.Log {
	return &agentpb.Log{Time: at.UnixMilli(), Data: []*commonpb.KeyStringValuePair{pair("", name)}}
}

func pair(key, value string) *commonpb.KeyStringValuePair {
	return &commonpb.KeyStringValuePair{Key: valid(key), Value: value}
}

// valid is text that a message can hold.
func valid(text string) string { return strings.ToValidUTF8(text, "!") }
