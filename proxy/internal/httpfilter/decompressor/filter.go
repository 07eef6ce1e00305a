// Package decompressor is the HTTP filter envoy.filters.http.decompressor: it decompresses responses
// of servers, and requests of clients, for those behind it that cannot.
//
// A body is decompressed as it comes, within bounds: one that grows more than a hundredfold, or is
// broken, ends the stream, where Envoy passes on what it has made of it. So does one whose window finds
// no room (package compression). Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/decompressor_filter
package decompressor

import (
	"bytes"
	"errors"
	"strings"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/brotli/decompressor/v3" // read by name, below
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/decompressor/v3"
	gzipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/decompressor/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/zstd/decompressor/v3"
	decompressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/decompressor/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/compression"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.decompressor"

// Config is a validated decompressor.v3.Decompressor.
type Config struct {
	Library           string
	Encoding          compression.Encoding
	Advertise         bool // ask servers for the coding
	Request, Response side
	MaxRatio          uint32 // of gzip: max_inflate_ratio; 0: Envoy's default
}

type side struct {
	Enabled           xdsresource.Flag
	IgnoreNoTransform bool
}

// libraries are the configurations of what decompresses. Their fields tune buffers.
var libraries = map[string]compression.Encoding{
	"envoy.extensions.compression.gzip.decompressor.v3.Gzip":     compression.Gzip,
	"envoy.extensions.compression.brotli.decompressor.v3.Brotli": compression.Brotli,
	"envoy.extensions.compression.zstd.decompressor.v3.Zstd":     compression.Zstd,
}

// ParseConfig reads the filter's configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &decompressorv3.Decompressor{}
	r := d.ReadFilter(Name, a, m)
	if err := r.Err(); err != nil {
		return nil, err
	}
	c := &Config{Library: m.GetDecompressorLibrary().GetName()}
	lib := m.GetDecompressorLibrary().GetTypedConfig()
	e, ok := libraries[string(lib.MessageName())]
	if !ok {
		r.Bad("decompressor_library.typed_config", "type %s is not supported; gzip, brotli and zstd are", lib.MessageName())
		return nil, r.Err()
	}
	if msg, err := lib.UnmarshalNew(); err != nil {
		r.Bad("decompressor_library.typed_config", "%v", err)
	} else {
		r.Unpack("decompressor_library.typed_config", lib, msg)
		if g, ok := msg.(*gzipv3.Gzip); ok {
			c.MaxRatio = g.GetMaxInflateRatio().GetValue()
		}
	}
	c.Encoding = e
	read := func(m *decompressorv3.Decompressor_CommonDirectionConfig) side {
		return side{Enabled: r.RuntimeFlag(m.GetEnabled(), true), IgnoreNoTransform: m.GetIgnoreNoTransformHeader()}
	}
	q := m.GetRequestDirectionConfig()
	c.Request, c.Response = read(q.GetCommonConfig()), read(m.GetResponseDirectionConfig().GetCommonConfig())
	c.Advertise = q.GetAdvertiseAcceptEncoding() == nil || q.GetAdvertiseAcceptEncoding().GetValue()
	return c, r.Err()
}

// Statistics of a direction.
const (
	decompressed = iota
	notDecompressed
	uncompressedBytes
	compressedBytes
)

var statSet = stats.NewSet(
	stats.Item{Name: "decompressed"}, stats.Item{Name: "not_decompressed"},
	stats.Item{Name: "total_uncompressed_bytes"}, stats.Item{Name: "total_compressed_bytes"},
)

// New returns the factory for a filter chain. scope is the connection manager's.
func New(cfg any, scope stats.Scope, workers int) httpfilter.Factory {
	c := cfg.(*Config)
	name := c.Encoding.String()
	if c.Encoding == compression.Brotli {
		name = "brotli"
	}
	scope = scope.Scope("decompressor").Scope(c.Library).Scope(name)
	return &factory{cfg: c, rooms: make([]*compression.Room, workers), request: scope.Scope("request").Block(statSet), response: scope.Scope("response").Block(statSet)}
}

type factory struct {
	cfg               *Config
	request, response stats.Block
	rooms             []*compression.Room // by worker
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	if f.rooms[l.ID()] == nil {
		f.rooms[l.ID()] = &compression.Room{}
	}
	x := &filter{cfg: f.cfg, room: f.rooms[l.ID()]}
	x.up.block, x.down.block = f.request, f.response
	return x
}

// filter serves one stream at a time.
type filter struct {
	cfg      *Config
	room     *compression.Room
	up, down body
}

// body is one direction's on its way through a decoder.
type body struct {
	dec   *compression.Decoder // nil: it passes as it is
	done  bool                 // complete; what follows is dropped
	block stats.Block
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, end bool) httpfilter.Status {
	if f.cfg.Advertise && f.cfg.Response.Enabled.On() {
		if v, ok := h.Join(nil, acceptKey); ok && len(v) > 0 {
			h.SetBuilt(acceptKey, append(append(append(h.Build(), v...), ','), f.cfg.Encoding.String()...))
		} else {
			h.SetString(header.AcceptEncoding, f.cfg.Encoding.String())
		}
	}
	f.begin(s, &f.cfg.Request, &f.up, h, end)
	return httpfilter.Continue
}

// OnResponseHeaders implements httpfilter.ResponseHeaders.
func (f *filter) OnResponseHeaders(s httpfilter.Stream, h *header.Map, end bool) httpfilter.Status {
	f.begin(s, &f.cfg.Response, &f.down, h, end)
	return httpfilter.Continue
}

var (
	acceptKey   = header.KeyOf("accept-encoding")
	encodingKey = header.KeyOf("content-encoding")
)

// begin starts to decompress a message that has the coding as its last one applied.
func (f *filter) begin(s httpfilter.Stream, d *side, b *body, h *header.Map, end bool) {
	if end {
		return
	}
	codings, _ := h.Join(nil, encodingKey)
	first, rest, _ := strings.Cut(string(codings), ",")
	if !d.Enabled.On() || !strings.EqualFold(strings.TrimSpace(first), f.cfg.Encoding.String()) ||
		!d.IgnoreNoTransform && bytes.Contains(bytes.ToLower(h.Value(header.CacheControl)), []byte("no-transform")) {
		s.Shard().Inc(b.block.Counter(notDecompressed))
		return
	}
	s.Shard().Inc(b.block.Counter(decompressed))
	h.Remove(header.ContentLength)
	if rest = strings.TrimSpace(rest); rest != "" {
		h.SetString(header.ContentEncoding, rest)
	} else {
		h.Remove(header.ContentEncoding)
	}
	b.dec = compression.NewDecoder(f.cfg.Encoding, f.room)
	if f.cfg.MaxRatio > 0 {
		b.dec.MaxRatio = f.cfg.MaxRatio
	}
}

// OnRequestData implements httpfilter.RequestData, as do the methods below for theirs.
func (f *filter) OnRequestData(s httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	switch err := f.up.decode(s, d, end, s.InjectRequest); {
	case err == nil:
		return httpfilter.Continue
	case errors.Is(err, compression.ErrNoRoom):
		s.Reply(httpfilter.Reply{Code: 503, Body: "Service Unavailable", Details: "request_decompression_overloaded"})
	default:
		s.Reply(httpfilter.Reply{Code: 400, Body: "Bad Request", Details: "request_decompression_failed"})
	}
	return httpfilter.Stop
}

// OnRequestTrailers sees to it that the body is complete before its trailers go on.
func (f *filter) OnRequestTrailers(s httpfilter.Stream, _ *header.Map) httpfilter.Status {
	var d httpfilter.Data
	return f.OnRequestData(s, &d, true)
}

// OnResponseData implements httpfilter.ResponseData.
func (f *filter) OnResponseData(s httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	switch err := f.down.decode(s, d, end, s.InjectResponse); {
	case err == nil:
		return httpfilter.Continue
	case errors.Is(err, compression.ErrNoRoom):
		s.ResetResponse("response_decompression_overloaded", 0)
	default:
		s.ResetResponse("response_decompression_failed", 0)
	}
	return httpfilter.Stop
}

// OnResponseTrailers is OnRequestTrailers for the response.
func (f *filter) OnResponseTrailers(s httpfilter.Stream, _ *header.Map) httpfilter.Status {
	var d httpfilter.Data
	return f.OnResponseData(s, &d, true)
}

// decode replaces a piece by what it decompresses to, which is passed on in pieces of its own.
func (b *body) decode(s httpfilter.Stream, d *httpfilter.Data, end bool, inject func([]byte, bool)) error {
	if b.dec == nil {
		return nil
	}
	p := d.Bytes
	d.Bytes = nil
	if b.done || len(p) == 0 && !end {
		return nil
	}
	s.Shard().Add(b.block.Counter(compressedBytes), uint64(len(p)))
	n := 0
	dec := b.dec
	err := dec.Decode(p, end, func(out []byte) {
		n += len(out)
		inject(out, false)
	})
	s.Shard().Add(b.block.Counter(uncompressedBytes), uint64(n))
	if b.dec != dec { // a filter behind this one has ended the stream: nothing is left to fail
		return nil
	}
	b.done = end
	return err
}

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(httpfilter.Stream) {
	for _, b := range []*body{&f.up, &f.down} {
		if b.dec != nil {
			b.dec.Close()
		}
		b.dec, b.done = nil, false
	}
}
