// Package grpcweb is the HTTP filter envoy.filters.http.grpc_web: it lets browsers, which see no
// trailers, speak gRPC with servers that do not know of them.
//
// A request becomes one of gRPC. In the response the trailers follow the messages as one more, and all
// of it is base64 where the client asks for text; nothing is held back for that but up to two bytes.
// What is no gRPC at all, an error page say, becomes the message of a status, 16 KiB of it at most.
// Only server imports it.
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
package grpcweb

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"

	webv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/methodstats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.grpc_web"

// ParseConfig reads the configuration, which says nothing.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	return nil, d.ReadFilter(Name, a, &webv3.GrpcWeb{}).Err()
}

// New returns the factory for a filter chain.
func New(clusters *cluster.Manager) httpfilter.Factory { return &factory{clusters} }

type factory struct{ clusters *cluster.Manager }

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	return &filter{clusters: f.clusters.Local(l.ID())}
}

// filter serves one stream at a time.
type filter struct {
	clusters *cluster.LocalManager

	web     bool                // the request is of gRPC-Web
	foreign bool                // the response is not gRPC, and becomes a status
	decode  bool                // the request is text
	encode  bool                // the response is to be
	method  *methodstats.Method // nil: not counted
	in      decoder
	out     encoder
}

// Media types.
const (
	webType       = "application/grpc-web"
	webProtoType  = "application/grpc-web+proto"
	textType      = "application/grpc-web-text"
	textProtoType = "application/grpc-web-text+proto"
)

var (
	acceptKey       = header.KeyOf("accept")
	grpcEncodingKey = header.KeyOf("grpc-accept-encoding")
	lengthKey       = header.KeyOf("content-length")
	statusKey       = header.KeyOf("grpc-status")
	messageKey      = header.KeyOf("grpc-message")
)

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	switch string(h.Value(header.ContentType)) {
	case webType, webProtoType:
	case textType, textProtoType:
		f.decode = true
	default:
		return httpfilter.Continue
	}
	f.web = true
	h.Remove(header.ContentLength) // not that of the messages
	f.count(s, h)
	h.SetString(header.ContentType, "application/grpc")
	if v, ok := h.GetKey(acceptKey); ok {
		f.encode = string(v) == textType || string(v) == textProtoType
	}
	h.SetString(header.TE, "trailers")
	if _, ok := h.GetKey(grpcEncodingKey); !ok {
		h.AddKeyString(grpcEncodingKey, "identity")
	}
	return httpfilter.Continue
}

// count finds the counters that the call goes to.
func (f *filter) count(s httpfilter.Stream, h *header.Map) {
	t := s.Target()
	if t == nil {
		return
	}
	l := f.clusters.Get(t.ClusterName(h))
	service, method, ok := methodstats.Split(h.Value(header.Path))
	if l != nil && ok {
		f.method = methodstats.Of(l).Method(methodstats.Web, service, method, false)
	}
}

// OnRequestData implements httpfilter.RequestData.
func (f *filter) OnRequestData(s httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	if !f.decode {
		return httpfilter.Continue
	}
	out, err := f.in.decode(d.Bytes, end)
	if err != nil {
		return refuse(s, err)
	}
	d.Bytes = out
	return httpfilter.Continue
}

// OnRequestTrailers implements httpfilter.RequestTrailers: the body has ended.
func (f *filter) OnRequestTrailers(s httpfilter.Stream, _ *header.Map) httpfilter.Status {
	if _, err := f.in.decode(nil, true); err != nil {
		return refuse(s, err)
	}
	return httpfilter.Continue
}

func refuse(s httpfilter.Stream, err error) httpfilter.Status {
	s.Reply(httpfilter.Reply{Code: 400, Body: "Bad gRPC-web request, invalid base64 data.", Details: err.Error()})
	return httpfilter.Stop
}

// OnResponseHeaders implements httpfilter.ResponseHeaders.
func (f *filter) OnResponseHeaders(s httpfilter.Stream, h *header.Map, end bool) httpfilter.Status {
	if !f.web {
		return httpfilter.Continue
	}
	f.status(h)
	f.foreign = !end && !ours(h)
	h.Remove(header.ContentLength)
	if f.encode {
		h.SetString(header.ContentType, textProtoType)
	} else {
		h.SetString(header.ContentType, webProtoType)
	}
	if !f.foreign {
		return httpfilter.Continue
	}
	// However long it is: no more than maxMessage of it is kept.
	s.SetResponseLimit(math.MaxInt)
	return httpfilter.Buffer
}

// ours reports whether a response with a body is one of gRPC, or of gRPC-Web already.
func ours(h *header.Map) bool {
	if string(h.Value(header.Status)) != "200" {
		return false
	}
	ct := h.Value(header.ContentType)
	if grpcstatus.Is(ct) {
		return true
	}
	ct, _, _ = bytes.Cut(ct, []byte(";"))
	ct = bytes.TrimRight(ct, " \t")
	return bytes.EqualFold(ct, []byte(webType)) || bytes.EqualFold(ct, []byte(webProtoType))
}

func (f *filter) status(h *header.Map) {
	if v, ok := h.Get(header.GRPCStatus); ok && f.method != nil {
		f.method.Status(v)
	}
}

// maxMessage is how much of a body that is no gRPC becomes a message.
const maxMessage = 16 << 10

// OnResponseData implements httpfilter.ResponseData.
func (f *filter) OnResponseData(s httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	switch {
	case f.foreign:
		if len(d.Bytes) > maxMessage {
			d.Bytes = d.Bytes[:maxMessage]
		}
		if !end {
			return httpfilter.Buffer
		}
		f.explain(s, d.Bytes)
		d.Bytes = nil
	case f.encode:
		out := f.out.encode(f.out.buf[:0], d.Bytes)
		if end {
			out = f.out.flush(out)
		}
		f.out.buf, d.Bytes = out, out
	}
	return httpfilter.Continue
}

// explain makes a response without messages of one that is not gRPC.
func (f *filter) explain(s httpfilter.Stream, body []byte) {
	h := s.ResponseHeaders()
	h.SetBuilt(messageKey, grpcstatus.AppendMessage(h.Build(), body))
	h.SetBuilt(statusKey, strconv.AppendUint(h.Build(), uint64(grpcstatus.FromHTTP(s.Info().ResponseCode)), 10))
	h.SetKeyString(lengthKey, "0")
	f.foreign, f.encode = false, false
}

// trailerFlag marks the frame that holds trailers.
const trailerFlag = 0x80

// OnResponseTrailers implements httpfilter.ResponseTrailers. They end the body, as its last frame.
func (f *filter) OnResponseTrailers(s httpfilter.Stream, t *header.Map) httpfilter.Status {
	if !f.web {
		return httpfilter.Continue
	}
	f.status(t)
	if s.ResponseHeaders().Has(header.ContentLength) { // explained: there is no body
		return httpfilter.Continue
	}
	frame := []byte{trailerFlag, 0, 0, 0, 0}
	for i := range t.Len() {
		_, name, value := t.At(i)
		frame = append(append(append(append(frame, name...), ':'), value...), "\r\n"...)
	}
	binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-5))
	if f.encode {
		out := f.out.flush(f.out.buf[:0])
		frame = f.out.flush(f.out.encode(out, frame))
	}
	s.InjectResponse(frame, true)
	return httpfilter.Stop // the trailers go no further
}

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(httpfilter.Stream) {
	in, out := f.in.buf, f.out.buf
	if cap(in)+cap(out) > keepBuffers {
		in, out = nil, nil
	}
	*f = filter{clusters: f.clusters, in: decoder{buf: in}, out: encoder{buf: out}}
}

// keepBuffers is how much room a filter keeps between streams.
const keepBuffers = 64 << 10
