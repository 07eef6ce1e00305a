// Package compressor is the HTTP filter envoy.filters.http.compressor: it compresses responses for
// clients that accept it, and requests where that is configured, with gzip, brotli or zstd.
//
// Each piece of a body is passed on as soon as it has come, compressed: a stream stays a stream. A
// chain may have several of these filters, one for each coding; the client's accept-encoding chooses
// among them. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/compressor_filter
package compressor

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/compression"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.compressor"

// stateKey is where the compressors of a stream find each other.
const stateKey = "lateen.compressors"

// offers are the compressors that a stream has met, in the order of the chain.
type offers struct {
	configs []*Config
	accept  string
	present bool
}

// String makes it an object of the filter state; it has no text.
func (*offers) String() string { return "" }

// Statistics of a direction.
const (
	compressed = iota
	notCompressed
	uncompressedBytes
	compressedBytes
	tooSmall
	directionStats
)

var directionSet = stats.NewSet(
	stats.Item{Name: "compressed"}, stats.Item{Name: "not_compressed"}, stats.Item{Name: "total_uncompressed_bytes"},
	stats.Item{Name: "total_compressed_bytes"}, stats.Item{Name: "content_length_too_small"},
)

// Statistics that only responses have.
const (
	noAcceptHeader = iota
	headerIdentity
	headerUsed
	headerOvershadowed
	headerWildcard
	headerNotValid
	notCompressedETag
)

var acceptSet = stats.NewSet(
	stats.Item{Name: "no_accept_header"}, stats.Item{Name: "header_identity"}, stats.Item{Name: "header_compressor_used"},
	stats.Item{Name: "header_compressor_overshadowed"}, stats.Item{Name: "header_wildcard"}, stats.Item{Name: "header_not_valid"},
	stats.Item{Name: "not_compressed_etag"},
)

// New returns the factory for a filter chain. scope is the connection manager's.
func New(cfg any, scope stats.Scope, workers int) httpfilter.Factory {
	c := cfg.(*Config)
	f := &factory{cfg: c, pools: make([]*compression.Pool, workers)}
	scope = scope.Scope("compressor").Scope(c.Library).Scope(statName(c.Settings.Encoding))
	f.response, f.accept = scope.Block(directionSet), scope.Block(acceptSet)
	if c.Directions {
		f.request = scope.Scope("request").Block(directionSet)
		f.response = scope.Scope("response").Block(directionSet) // what is about accept-encoding stays where it was
	}
	return f
}

// statName is the coding's name in statistics.
func statName(e compression.Encoding) string {
	if e == compression.Brotli {
		return "brotli"
	}
	return e.String()
}

type factory struct {
	cfg                       *Config
	pools                     []*compression.Pool // by worker
	request, response, accept stats.Block
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	if f.pools[l.ID()] == nil {
		f.pools[l.ID()] = compression.NewPool(f.cfg.Settings)
	}
	x := &filter{factory: f, pool: f.pools[l.ID()]}
	x.up.block, x.down.block = f.request, f.response
	return x
}

// filter serves one stream at a time.
type filter struct {
	*factory
	pool     *compression.Pool
	up, down body
	own      offers // where the stream's compressors are listed when this is the first one
	listed   *offers
	disabled bool
}

// body is one direction's on its way through an encoder.
type body struct {
	enc   *compression.Encoder // nil: it passes as it is
	block stats.Block
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, end bool) httpfilter.Status {
	c := f.cfg
	rc, _ := s.FilterConfig().(*RouteConfig)
	f.disabled = rc != nil && rc.Disabled
	if f.disabled {
		return httpfilter.Continue
	}
	f.offer(s, h)
	remove := c.RemoveAcceptEncoding
	if rc != nil && rc.RemoveAcceptEncoding != nil {
		remove = *rc.RemoveAcceptEncoding
	}
	if c.Response.Enabled.On() && remove {
		h.Remove(header.AcceptEncoding)
	}
	if c.Request.Enabled.On() && !end {
		if f.long(s, &c.Request, h, f.request) && c.Request.takes(h.Value(header.ContentType)) && !h.Has(header.ContentEncoding) && !h.Has(header.Upgrade) {
			f.begin(s, h, &f.up)
		} else {
			s.Shard().Inc(f.request.Counter(notCompressed))
		}
	}
	return httpfilter.Continue
}

// offer lists the filter among the stream's compressors. The client's header is noted before one
// of them removes it.
func (f *filter) offer(s httpfilter.Stream, h *header.Map) {
	state := &s.Info().State
	if o, ok := state.Get(stateKey).(*offers); ok {
		f.listed = o
	} else {
		v, present := h.Join(nil, acceptKey)
		f.own.accept, f.own.present = string(v), present
		f.listed = &f.own
		state.Put(stateKey, f.listed)
	}
	if f.cfg.Response.Enabled.On() {
		f.listed.configs = append(f.listed.configs, f.cfg)
	}
}

// OnResponseHeaders implements httpfilter.ResponseHeaders.
func (f *filter) OnResponseHeaders(s httpfilter.Stream, h *header.Map, end bool) httpfilter.Status {
	c := f.cfg
	if f.disabled || f.listed == nil {
		return httpfilter.Continue
	}
	sh := s.Shard()
	large := c.Response.Enabled.On() && f.long(s, &c.Response, h, f.response)
	etagged := c.DisableOnETag && h.Has(header.ETag)
	compressible := large && !h.Has(header.Upgrade) && c.Response.takes(h.Value(header.ContentType)) && !noTransform(h) &&
		!etagged && !h.Has(header.ContentEncoding) && !slices.Contains(c.Uncompressible, s.Info().ResponseCode)
	if etagged {
		sh.Inc(f.accept.Counter(notCompressedETag))
	}
	if !end && large && f.accepted(s, h) && compressible {
		f.begin(s, h, &f.down)
		f.etag(h)
	} else {
		sh.Inc(f.response.Counter(notCompressed))
	}
	// A cache in front of us must know that the answer depends on what the client accepts, even
	// where this client got it as it is.
	if compressible {
		vary(h)
	}
	return httpfilter.Continue
}

// accepted reports whether this filter is the one that the client's header chooses.
func (f *filter) accepted(s httpfilter.Stream, h *header.Map) bool {
	var offered []*Config
	for _, o := range f.listed.configs { // those that would take this response
		if o.Response.takes(h.Value(header.ContentType)) && (length(h) < 0 || length(h) >= o.Response.MinLength) {
			offered = append(offered, o)
		}
	}
	if len(offered) == 0 {
		offered = f.listed.configs
	}
	i, v := choose(f.listed.accept, f.listed.present, offered)
	ours := i >= 0 && offered[i] == f.cfg
	stat := [...]int{noHeader: noAcceptHeader, identity: headerIdentity, invalid: headerNotValid, wildcard: headerWildcard, named: headerUsed}[v]
	if v == named && !ours {
		stat = headerOvershadowed
	}
	s.Shard().Inc(f.accept.Counter(stat))
	return ours
}

// begin starts to compress.
func (f *filter) begin(s httpfilter.Stream, h *header.Map, b *body) {
	enc, err := f.pool.Get()
	if err != nil { // the settings were tried when the configuration was read
		s.Shard().Inc(b.block.Counter(notCompressed))
		return
	}
	b.enc = enc
	s.Shard().Inc(b.block.Counter(compressed))
	h.Remove(header.ContentLength)
	h.AddString(header.ContentEncoding, f.cfg.Settings.Encoding.String())
}

// long reports whether a body is long enough; one of unknown length is.
func (f *filter) long(s httpfilter.Stream, d *side, h *header.Map, block stats.Block) bool {
	n := length(h)
	if n < 0 || n >= d.MinLength {
		return true
	}
	s.Shard().Inc(block.Counter(tooSmall))
	return false
}

// length is the content-length, -1 for none.
func length(h *header.Map) int {
	n, err := strconv.Atoi(string(h.Value(header.ContentLength)))
	if err != nil {
		return -1
	}
	return n
}

func noTransform(h *header.Map) bool {
	return bytes.Contains(bytes.ToLower(h.Value(header.CacheControl)), []byte("no-transform"))
}

// etag keeps a weak entity tag. A strong one names the bytes, which are other bytes now.
func (f *filter) etag(h *header.Map) {
	v := h.Value(header.ETag)
	if len(v) < 2 || (v[0] == 'W' || v[0] == 'w') && v[1] == '/' {
		return
	}
	if f.cfg.WeakenETag {
		h.SetBuilt(etagKey, append(append(h.Build(), "W/"...), v...))
		return
	}
	h.Remove(header.ETag)
}

// vary adds accept-encoding to the vary header.
func vary(h *header.Map) {
	v, ok := h.Join(nil, varyKey)
	switch {
	case !ok:
		h.AddString(header.Vary, "Accept-Encoding")
	case !bytes.Contains(v, []byte("Accept-Encoding")):
		h.SetBuilt(varyKey, append(append(h.Build(), v...), ", Accept-Encoding"...))
	}
}

var (
	acceptKey = header.KeyOf("accept-encoding")
	varyKey   = header.KeyOf("vary")
	etagKey   = header.KeyOf("etag")
)

// OnRequestData implements httpfilter.RequestData, as do the methods below for theirs.
func (f *filter) OnRequestData(s httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	if !f.up.encode(s, d, end) {
		s.ResetResponse("compression_failed", 0)
		return httpfilter.Stop
	}
	return httpfilter.Continue
}

// OnRequestTrailers ends the body before the trailers.
func (f *filter) OnRequestTrailers(s httpfilter.Stream, _ *header.Map) httpfilter.Status {
	if p := f.up.rest(s); len(p) > 0 {
		s.InjectRequest(p, false)
	}
	return httpfilter.Continue
}

// OnResponseData implements httpfilter.ResponseData.
func (f *filter) OnResponseData(s httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	if !f.down.encode(s, d, end) {
		s.ResetResponse("compression_failed", 0)
		return httpfilter.Stop
	}
	return httpfilter.Continue
}

// OnResponseTrailers ends the body before the trailers.
func (f *filter) OnResponseTrailers(s httpfilter.Stream, _ *header.Map) httpfilter.Status {
	if p := f.down.rest(s); len(p) > 0 {
		s.InjectResponse(p, false)
	}
	return httpfilter.Continue
}

// encode replaces a piece by its compressed form.
func (b *body) encode(s httpfilter.Stream, d *httpfilter.Data, end bool) bool {
	if b.enc == nil || len(d.Bytes) == 0 && !end {
		return true
	}
	s.Shard().Add(b.block.Counter(uncompressedBytes), uint64(len(d.Bytes)))
	out, err := b.enc.Encode(d.Bytes, end)
	if err != nil {
		return false
	}
	s.Shard().Add(b.block.Counter(compressedBytes), uint64(len(out)))
	d.Bytes = out
	return true
}

func (b *body) rest(s httpfilter.Stream) []byte {
	var d httpfilter.Data
	if b.enc == nil || !b.encode(s, &d, true) {
		return nil
	}
	return d.Bytes
}

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(httpfilter.Stream) {
	for _, b := range []*body{&f.up, &f.down} {
		if b.enc != nil {
			b.enc.Release()
			b.enc = nil
		}
	}
	clear(f.own.configs)
	f.own = offers{configs: f.own.configs[:0]}
	f.listed, f.disabled = nil, false
}
