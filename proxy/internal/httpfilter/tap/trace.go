package tap

import (
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/tap/v3"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
)

// trace is the whole trace of a stream that is over.
func (f *filter) trace(s httpfilter.Stream) *datav3.HttpBufferedTrace {
	t := &datav3.HttpBufferedTrace{
		Request:  f.message(&f.request, s.RequestHeaders(), s.RequestTrailers()),
		Response: f.message(&f.response, s.ResponseHeaders(), s.ResponseTrailers()),
	}
	i := s.Info()
	if d := i.Downstream; f.Downstream && d != nil {
		t.DownstreamConnection = connection(d.LocalAddr, d.RemoteAddr, d.Path)
	}
	if h := i.Host; f.Upstream && h != nil {
		t.UpstreamConnection = connection(i.UpstreamLocal, netip.AddrPortFrom(h.Address.IP, h.Address.Port), h.Address.Pipe)
	}
	return t
}

// message is a request or a response; nil when there is none.
func (f *filter) message(d *side, h, trailers *header.Map) *datav3.HttpBufferedTrace_Message {
	if h == nil {
		return nil
	}
	m := &datav3.HttpBufferedTrace_Message{Headers: pairs(h)}
	if trailers != nil {
		m.Trailers = pairs(trailers)
	}
	if d.has {
		m.Body = body(d.body, d.cut)
	}
	if f.Times {
		m.HeadersReceivedTime = timestamppb.New(d.at)
	}
	return m
}

// pairs copies headers. What is not UTF-8 cannot stand in a proto's text.
func pairs(h *header.Map) []*corev3.HeaderValue {
	out := make([]*corev3.HeaderValue, h.Len())
	for i := range out {
		_, name, value := h.At(i)
		out[i] = &corev3.HeaderValue{Key: string(name), Value: strings.ToValidUTF8(string(value), "\uFFFD")}
	}
	return out
}

func body(p []byte, cut bool) *datav3.Body {
	return &datav3.Body{BodyType: &datav3.Body_AsBytes{AsBytes: append([]byte(nil), p...)}, Truncated: cut}
}

func headersSegment(k kind, h *header.Map) *datav3.HttpStreamedTraceSegment {
	list := &datav3.HttpStreamedTraceSegment{}
	hs := pairs(h)
	switch k {
	case requestHeaders:
		list.MessagePiece = &datav3.HttpStreamedTraceSegment_RequestHeaders{RequestHeaders: &corev3.HeaderMap{Headers: hs}}
	case requestTrailers:
		list.MessagePiece = &datav3.HttpStreamedTraceSegment_RequestTrailers{RequestTrailers: &corev3.HeaderMap{Headers: hs}}
	case responseHeaders:
		list.MessagePiece = &datav3.HttpStreamedTraceSegment_ResponseHeaders{ResponseHeaders: &corev3.HeaderMap{Headers: hs}}
	default:
		list.MessagePiece = &datav3.HttpStreamedTraceSegment_ResponseTrailers{ResponseTrailers: &corev3.HeaderMap{Headers: hs}}
	}
	return list
}

func bodySegment(k kind, p []byte, cut bool) *datav3.HttpStreamedTraceSegment {
	if k == requestBody {
		return &datav3.HttpStreamedTraceSegment{MessagePiece: &datav3.HttpStreamedTraceSegment_RequestBodyChunk{RequestBodyChunk: body(p, cut)}}
	}
	return &datav3.HttpStreamedTraceSegment{MessagePiece: &datav3.HttpStreamedTraceSegment_ResponseBodyChunk{ResponseBodyChunk: body(p, cut)}}
}

func connection(local, remote netip.AddrPort, pipe string) *datav3.Connection {
	return &datav3.Connection{LocalAddress: address(local, pipe), RemoteAddress: address(remote, pipe)}
}

func address(a netip.AddrPort, pipe string) *corev3.Address {
	if pipe != "" || !a.IsValid() {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: pipe}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.Addr().Unmap().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}
