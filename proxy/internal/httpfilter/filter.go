package httpfilter

import (
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// Status is a filter's answer.
type Status uint8

const (
	// Continue passes on to the next filter.
	Continue Status = iota
	// Stop holds everything of this direction at this filter until ContinueRequest or
	// ContinueResponse. What arrives is kept, up to the buffer limit, beyond which reading
	// stops. A filter that has answered with Stream.Reply returns Stop as well.
	Stop
	// Buffer is Stop, but the filter's data method is called again with all of the body so
	// far whenever more arrives, until it returns another status. A body beyond the buffer
	// limit ends the stream: 413 for a request, 500 for a response.
	Buffer
)

// Filter implements at least one of the interfaces below. A value serves one stream at a
// time and is used again for the next one of the same stream object: Completer's OnComplete
// must leave it as it was made. A filter without state of its own may be shared (the factory
// returns the same value).
type Filter any

// RequestHeaders sees a request's headers. end: there is no body.
type RequestHeaders interface {
	OnRequestHeaders(s Stream, h *header.Map, end bool) Status
}

// RequestData sees a piece of the request's body. end: it is the last, and no trailers follow.
type RequestData interface {
	OnRequestData(s Stream, d *Data, end bool) Status
}

// RequestTrailers sees the request's trailers, which end it.
type RequestTrailers interface {
	OnRequestTrailers(s Stream, t *header.Map) Status
}

// ResponseHeaders sees a response's headers; local replies pass as well.
type ResponseHeaders interface {
	OnResponseHeaders(s Stream, h *header.Map, end bool) Status
}

// ResponseData sees a piece of the response's body.
type ResponseData interface {
	OnResponseData(s Stream, d *Data, end bool) Status
}

// ResponseTrailers sees the response's trailers.
type ResponseTrailers interface {
	OnResponseTrailers(s Stream, t *header.Map) Status
}

// Completer is told once when the stream is over, however it ended, before its access log is
// written. Nothing of the stream may be used later.
type Completer interface {
	OnComplete(s Stream)
}

// Data is a piece of a body. A filter may replace Bytes by a slice of its own, which must
// stay valid until the filter's next call or completion. The bytes themselves are read-only.
type Data struct {
	Bytes []byte
}

// Factory makes a filter's instances for one filter chain. Its methods are called on the
// workers' loops.
type Factory interface {
	// NewFilter returns an instance for a stream object of the loop's worker. It is called
	// once per stream object (not per stream), or may return one shared value.
	NewFilter(l *eventloop.Loop) Filter
}

// Stream is one request with its response, as filters see it. All methods are for the
// stream's loop.
type Stream interface {
	Loop() *eventloop.Loop
	Shard() *stats.Shard
	Info() *streaminfo.Info
	// Downstream is the client's connection.
	Downstream() *conn.Conn
	// Random is the stream's random number: one for all decisions about it.
	Random() uint64

	// Route is the matched route, nil for none. It is looked up once, before the first
	// filter; ClearRoute has it looked up anew at the next call, after a filter changed what
	// it depends on.
	Route() *route.Entry
	// Target is the cluster chosen by the route, nil when the route does not forward.
	Target() *route.Target
	ClearRoute()
	// FilterConfig is the most specific per-route configuration of the filter of that
	// configured name, nil when there is none.
	FilterConfig(name string) any

	// RequestHeaders are never nil. The others are nil until they have been received.
	RequestHeaders() *header.Map
	RequestTrailers() *header.Map
	ResponseHeaders() *header.Map
	ResponseTrailers() *header.Map

	// ContinueRequest goes on behind the filter that stopped the request; ContinueResponse
	// the same for the response. They may be called from within the filter's own method no
	// more than from anywhere else: return Continue there.
	ContinueRequest()
	ContinueResponse()

	// Reply answers the request locally. The response passes the filters' response side.
	// After the response has begun it resets the stream instead.
	Reply(r Reply)
}

// Reply is a local answer.
type Reply struct {
	Code    int
	Body    string // text/plain, unless Headers says otherwise; "" for none
	Details string // response_code_details
	Flags   streaminfo.Flags
	// Headers adds to the response's headers; nil: nothing to add.
	Headers func(h *header.Map)
}

// Responder is what a Terminal answers through.
type Responder interface {
	Stream
	// Respond begins the response. h belongs to the caller and must live until the stream
	// is over. end: there is no body.
	Respond(h *header.Map, end bool)
	// RespondInterim passes an interim response (1xx but 101).
	RespondInterim(h *header.Map)
	// RespondData sends a piece of body.
	RespondData(p []byte, end bool)
	// RespondTrailers ends the response with trailers.
	RespondTrailers(t *header.Map)
	// ResetResponse ends a response that cannot be completed: the client's connection is
	// closed so that it does not take the answer for whole.
	ResetResponse(details string, flags streaminfo.Flags)
	// ResponseBlocked reports whether the client reads too slowly; OnDownstreamWritable
	// follows when it does better.
	ResponseBlocked() bool
	// PauseRequest stops reading the request's body; ResumeRequest goes on.
	PauseRequest()
	ResumeRequest()
	// RequestComplete reports whether the request's last byte has been received.
	RequestComplete() bool
	// BufferLimit is the connection's buffer limit in bytes.
	BufferLimit() int
	// SetIdleTimeout changes the stream's idle time-out, for a route that has its own.
	// 0 turns it off.
	SetIdleTimeout(ns int64)
}

// Terminal is the last filter of a chain. It consumes the request and gives the response.
// OnComplete also tells it that the client is gone: it drops what is under way.
type Terminal interface {
	BeginRequest(s Responder, h *header.Map, end bool)
	RequestBody(p []byte, end bool)
	RequestTrailersEnd(t *header.Map)
	OnDownstreamWritable()
	Completer
}
