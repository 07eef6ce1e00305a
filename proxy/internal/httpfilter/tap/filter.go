// Package tap is the HTTP filter envoy.filters.http.tap with a static configuration: it writes
// requests with their answers, those that match, to a file each.
//
// A trace is written when the stream is over, or piece by piece (streaming), from when it is known to
// match. What is kept of a body is bounded by the configuration. The loop only puts traces together;
// Writer, which server runs, writes them. Taps that are asked for at the admin API, and sinks other
// than file_per_tap, are refused. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/tap_filter
package tap

import (
	"time"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/tap/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.tap"

// Statistics, "http.<stat_prefix>.tap.*".
const (
	tapped = iota
	sampledOut
)

var statSet = stats.NewSet(stats.Item{Name: "rq_tapped"}, stats.Item{Name: "rq_sampled_out"})

// New returns the factory for a filter chain. scope is the connection manager's.
func New(cfg any, w *Writer, scope stats.Scope) httpfilter.Factory {
	return &factory{cfg.(*Config), w, scope.Scope("tap").Block(statSet)}
}

type factory struct {
	*Config
	out   *Writer
	block stats.Block
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	return &filter{factory: f, loop: l, judgement: newJudgement(f.match)}
}

// filter serves one stream at a time.
type filter struct {
	*factory
	loop      *eventloop.Loop
	judgement judgement

	on                bool // the stream is looked at
	started           bool // its trace is being streamed
	rated             bool // the trace has told the rate already
	came              progress
	id                uint64
	request, response side
}

// progress is what has come of a stream, a bit each.
type progress uint8

const (
	cameRequest progress = 1 << iota
	cameRequestTrailers
	cameResponse
	cameResponseTrailers
)

// side is what is kept of a message for later.
type side struct {
	at       time.Time // when its headers came
	body     []byte
	has, cut bool // there is some of a body; not all of it was kept
}

func (d *side) keep(p []byte, most int) {
	d.has = true
	n := min(len(p), max(most-len(d.body), 0))
	d.body = append(d.body, p[:n]...)
	d.cut = d.cut || n < len(p)
}

func (d *side) reset() {
	body := d.body[:0]
	if cap(body) > keepBody {
		body = nil
	}
	*d = side{body: body}
}

// keepBody is how much room for bodies a filter keeps between streams.
const keepBody = 16 << 10

// OnRequestHeaders implements httpfilter.RequestHeaders, as do the methods below for theirs.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	if f.Enabled != nil && !f.Enabled.Hit(f.loop.Rand()) {
		s.Shard().Inc(f.block.Counter(sampledOut))
		return httpfilter.Continue
	}
	f.on, f.id, f.request.at = true, f.loop.Rand(), f.loop.WallNow()
	f.headers(s, requestHeaders, h, cameRequest)
	return httpfilter.Continue
}

// OnRequestData sees a piece of the request.
func (f *filter) OnRequestData(s httpfilter.Stream, d *httpfilter.Data, _ bool) httpfilter.Status {
	f.data(s, requestBody, d.Bytes, &f.request, f.MaxRequest)
	return httpfilter.Continue
}

// OnRequestTrailers sees the request's trailers.
func (f *filter) OnRequestTrailers(s httpfilter.Stream, t *header.Map) httpfilter.Status {
	f.headers(s, requestTrailers, t, cameRequestTrailers)
	return httpfilter.Continue
}

// OnResponseHeaders sees the response's headers.
func (f *filter) OnResponseHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	f.response.at = f.loop.WallNow()
	f.headers(s, responseHeaders, h, cameResponse)
	return httpfilter.Continue
}

// OnResponseData sees a piece of the response.
func (f *filter) OnResponseData(s httpfilter.Stream, d *httpfilter.Data, _ bool) httpfilter.Status {
	f.data(s, responseBody, d.Bytes, &f.response, f.MaxResponse)
	return httpfilter.Continue
}

// OnResponseTrailers sees the response's trailers.
func (f *filter) OnResponseTrailers(s httpfilter.Stream, t *header.Map) httpfilter.Status {
	f.headers(s, responseTrailers, t, cameResponseTrailers)
	return httpfilter.Continue
}

func (f *filter) headers(s httpfilter.Stream, k kind, h *header.Map, came progress) {
	if !f.on {
		return
	}
	f.judgement.fields(k, h)
	if f.streams(s) {
		f.send(headersSegment(k, h))
	}
	f.came |= came
}

func (f *filter) data(s httpfilter.Stream, k kind, p []byte, d *side, most int) {
	if !f.on {
		return
	}
	f.judgement.body(k, p)
	if f.streams(s) {
		f.send(bodySegment(k, p[:min(len(p), most)], len(p) > most))
		return
	}
	d.keep(p, most)
}

// streams reports whether the trace is being streamed. When it begins, what has come so far goes
// first.
func (f *filter) streams(s httpfilter.Stream) bool {
	if !f.Streaming || f.started || !f.judgement.matches() {
		return f.Streaming && f.started
	}
	f.started = true
	for _, part := range []struct {
		k    kind
		came bool
		h    *header.Map
		d    *side
	}{
		{requestHeaders, f.came&cameRequest != 0, s.RequestHeaders(), nil},
		{requestBody, f.request.has, nil, &f.request},
		{requestTrailers, f.came&cameRequestTrailers != 0, s.RequestTrailers(), nil},
		{responseHeaders, f.came&cameResponse != 0, s.ResponseHeaders(), nil},
		{responseBody, f.response.has, nil, &f.response},
	} {
		switch {
		case !part.came:
		case part.d != nil:
			f.send(bodySegment(part.k, part.d.body, part.d.cut))
		default:
			f.send(headersSegment(part.k, part.h))
		}
	}
	return true
}

// send gives a piece of the trace to the writer.
func (f *filter) send(seg *datav3.HttpStreamedTraceSegment) {
	seg.TraceId = f.id
	f.out.add(f.loop.ID(), record{f.id, f.wrap(&datav3.TraceWrapper{Trace: &datav3.TraceWrapper_HttpStreamedTraceSegment{HttpStreamedTraceSegment: seg}})})
}

// wrap notes the rate in the trace's first message.
func (f *filter) wrap(w *datav3.TraceWrapper) *datav3.TraceWrapper {
	if !f.rated {
		f.rated, w.ConfiguredSampleRate = true, f.rate
	}
	return w
}

// OnComplete implements httpfilter.Completer: the trace of a stream that matches is written, unless it
// has been already.
func (f *filter) OnComplete(s httpfilter.Stream) {
	if f.on {
		yes := f.started
		if !f.Streaming && f.judgement.matches() {
			yes = true
			f.out.add(f.loop.ID(), record{f.id, f.wrap(&datav3.TraceWrapper{Trace: &datav3.TraceWrapper_HttpBufferedTrace{HttpBufferedTrace: f.trace(s)}})})
		}
		if yes {
			s.Shard().Inc(f.block.Counter(tapped))
		}
	}
	f.judgement.reset()
	f.request.reset()
	f.response.reset()
	f.on, f.started, f.rated, f.came, f.id = false, false, false, 0, 0
}
