// Package discovered is an HTTP filter whose configuration comes while the proxy runs (ECDS). It stands in a chain for whatever
// filter the newest configuration makes: a stream keeps the one that it began with.
//
// It subscribes to nothing and judges nothing: server does, and hands it factories. Importer: server.
package discovered

import (
	"net/http"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/liveslot"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// Slot is the place of a filter in a chain. It implements httpfilter.Factory. While nothing is set, streams are answered with 500.
type Slot struct {
	liveslot.Slot[httpfilter.Factory]
}

type version = liveslot.Version[httpfilter.Factory]

// NewFilter implements httpfilter.Factory.
func (s *Slot) NewFilter(l *eventloop.Loop) httpfilter.Filter { return &filter{slot: s, loop: l} }

// filter passes on what a filter made by the version of its stream is called with.
type filter struct {
	slot *Slot
	loop *eventloop.Loop
	made *version // whose filter the fields below are of; nil: of none
	now  *version // of the stream; nil: there is no configuration
	busy bool     // a stream has begun

	// What the filter implements; nil: it does not.
	requestHeaders   httpfilter.RequestHeaders
	requestData      httpfilter.RequestData
	requestTrailers  httpfilter.RequestTrailers
	responseHeaders  httpfilter.ResponseHeaders
	responseData     httpfilter.ResponseData
	responseTrailers httpfilter.ResponseTrailers
	completer        httpfilter.Completer

	// A filter may want the body whole, and have no method to see it.
	buffersRequest, buffersResponse bool
}

// begin chooses the stream's version with the stream's first call. It reports whether there is one.
func (f *filter) begin() bool {
	if f.busy {
		return f.now != nil
	}
	f.busy, f.now = true, f.slot.Take()
	if f.now != nil && f.now != f.made {
		f.fill(f.now)
	}
	return f.now != nil
}

func (f *filter) fill(v *version) {
	x := v.Value.NewFilter(f.loop)
	f.made = v
	f.requestHeaders, _ = x.(httpfilter.RequestHeaders)
	f.requestData, _ = x.(httpfilter.RequestData)
	f.requestTrailers, _ = x.(httpfilter.RequestTrailers)
	f.responseHeaders, _ = x.(httpfilter.ResponseHeaders)
	f.responseData, _ = x.(httpfilter.ResponseData)
	f.responseTrailers, _ = x.(httpfilter.ResponseTrailers)
	f.completer, _ = x.(httpfilter.Completer)
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, end bool) httpfilter.Status {
	if !f.begin() {
		s.Reply(httpfilter.Reply{Code: http.StatusInternalServerError, Flags: streaminfo.NoFilterConfigFound})
		return httpfilter.Stop
	}
	if f.requestHeaders == nil {
		return httpfilter.Continue
	}
	status := f.requestHeaders.OnRequestHeaders(s, h, end)
	f.buffersRequest = status == httpfilter.Buffer
	return status
}

// OnRequestData implements httpfilter.RequestData.
func (f *filter) OnRequestData(s httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	if f.begin() && f.requestData != nil {
		return f.requestData.OnRequestData(s, d, end)
	}
	return passing(&f.buffersRequest, end)
}

// passing is the status of a piece that the filter has no method for.
func passing(buffers *bool, end bool) httpfilter.Status {
	if *buffers && !end {
		return httpfilter.Buffer
	}
	*buffers = false
	return httpfilter.Continue
}

// OnRequestTrailers implements httpfilter.RequestTrailers.
func (f *filter) OnRequestTrailers(s httpfilter.Stream, t *header.Map) httpfilter.Status {
	if f.begin() && f.requestTrailers != nil {
		return f.requestTrailers.OnRequestTrailers(s, t)
	}
	return httpfilter.Continue
}

// OnResponseHeaders implements httpfilter.ResponseHeaders.
func (f *filter) OnResponseHeaders(s httpfilter.Stream, h *header.Map, end bool) httpfilter.Status {
	if !f.begin() || f.responseHeaders == nil {
		return httpfilter.Continue
	}
	status := f.responseHeaders.OnResponseHeaders(s, h, end)
	f.buffersResponse = status == httpfilter.Buffer
	return status
}

// OnResponseData implements httpfilter.ResponseData.
func (f *filter) OnResponseData(s httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	if f.begin() && f.responseData != nil {
		return f.responseData.OnResponseData(s, d, end)
	}
	return passing(&f.buffersResponse, end)
}

// OnResponseTrailers implements httpfilter.ResponseTrailers.
func (f *filter) OnResponseTrailers(s httpfilter.Stream, t *header.Map) httpfilter.Status {
	if f.begin() && f.responseTrailers != nil {
		return f.responseTrailers.OnResponseTrailers(s, t)
	}
	return httpfilter.Continue
}

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(s httpfilter.Stream) {
	v := f.now
	if v != nil && f.completer != nil {
		f.completer.OnComplete(s)
	}
	f.busy, f.now, f.buffersRequest, f.buffersResponse = false, nil, false, false
	if v != nil {
		v.Leave()
	}
}
