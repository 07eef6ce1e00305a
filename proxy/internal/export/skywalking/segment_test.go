package skywalking

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	commonpb "skywalking.apache.org/repo/goapi/collect/common/v3"
	agentpb "skywalking.apache.org/repo/goapi/collect/language/agent/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

type zeros struct{}

func (zeros) Rand() uint64 { return 0 }

func (zeros) WallNow() time.Time { return time.Time{} }

func (zeros) ID() int { return 0 }

// begun is the context of a request for a path.
func begun(path string) tracing.Context {
	h := &header.Map{}
	h.AddString(header.Path, path)
	h.AddString(header.XRequestID, "00000000-0000-4000-8000-000000000000")
	p := tracing.NewPolicy(&xdsresource.Tracing{RandomSampling: 100, OverallSampling: 100, Provider: &xdsresource.SkyWalking{ServiceName: "sh\xffp"}}, xdsresource.DirectionInbound, false)
	c, _, _ := p.Named("", "shop-1").Start(h, zeros{}, nil)
	return c
}

func TestSegment(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	own := &tracing.Span{
		Context: begun("/buy"), Name: "/buy", Start: at, Duration: 1500 * time.Microsecond,
		Tags:   []tracing.Tag{{Key: "http.url", Value: "http://a/buy"}, {Key: "http.status_code", Value: "503"}, {Key: "peer.address", Value: "10.0.0.7"}, {Key: "who", Value: "m\xfe"}, {Key: "error", Value: "true"}},
		Events: []tracing.Event{{At: at.Add(time.Millisecond), Name: "last_downstream_rx_byte_received"}},
	}
	call := func(id uint64, tags ...tracing.Tag) *tracing.Span {
		return &tracing.Span{Context: tracing.Context{Span: id}, Name: "/buy", Start: at, Duration: time.Millisecond, Tags: tags}
	}
	own.Segment.Calls = []*tracing.Span{call(2, tracing.Tag{Key: "retry.count", Value: "1"}), call(1, tracing.Tag{Key: "peer.address", Value: "10.0.0.9:80"})}
	own.Segment.Caller = &tracing.Caller{Trace: "t", Segment: "s", Span: 4, Service: "web", Instance: "web-1", Endpoint: "/", Address: "shop:80"}
	const id = "00000000-0000-4000-8000-000000000000"
	pair := func(k, v string) *commonpb.KeyStringValuePair { return &commonpb.KeyStringValuePair{Key: k, Value: v} }
	exit := func(id int32, change func(*agentpb.SpanObject)) *agentpb.SpanObject {
		s := &agentpb.SpanObject{
			SpanId: id, StartTime: 1_700_000_000_000, EndTime: 1_700_000_000_001, OperationName: "/buy", SpanType: agentpb.SpanType_Exit,
			SpanLayer: agentpb.SpanLayer_Http, ComponentId: 9000,
		}
		change(s)
		return s
	}
	want := &agentpb.SegmentObject{
		TraceId: id, TraceSegmentId: id, Service: "sh!p", ServiceInstance: "shop-1",
		Spans: []*agentpb.SpanObject{
			{
				ParentSpanId: -1, StartTime: 1_700_000_000_000, EndTime: 1_700_000_000_001, OperationName: "/buy", Peer: "10.0.0.7", SpanType: agentpb.SpanType_Entry,
				SpanLayer: agentpb.SpanLayer_Http, ComponentId: 9000, IsError: true,
				Refs: []*agentpb.SegmentReference{{
					TraceId: "t", ParentTraceSegmentId: "s", ParentSpanId: 4, ParentService: "web", ParentServiceInstance: "web-1", ParentEndpoint: "/", NetworkAddressUsedAtPeer: "shop:80",
				}},
				Tags: []*commonpb.KeyStringValuePair{pair("url", "http://a/buy"), pair("status_code", "503"), pair("who", "m!"), pair("error", "true")},
				Logs: []*agentpb.Log{{Time: 1_700_000_000_001, Data: []*commonpb.KeyStringValuePair{pair("", "last_downstream_rx_byte_received")}}},
			},
			exit(1, func(s *agentpb.SpanObject) { s.Peer = "10.0.0.9:80" }),
			exit(2, func(s *agentpb.SpanObject) { s.Tags = []*commonpb.KeyStringValuePair{pair("retry.count", "1")} }),
		},
	}
	got := segment(own)
	if !proto.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if _, err := proto.Marshal(got); err != nil {
		t.Errorf("it cannot be sent: %v", err)
	}
}
