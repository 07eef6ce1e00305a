package httpfilter

import (
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Status is a filter's answer.
type Status uint8

const (
	// Continue passes on to the next filter.
	Continue Status = iota
	// Stop holds everything of this direction at this filter until ContinueRequest or
	// ContinueResponse: what it was called with goes on then, and what has arrived meanwhile is
	// shown to it after that. Up to the buffer limit is kept; beyond it reading stops. A filter
	// that has answered with Stream.Reply returns Stop as well.
	Stop
	// Buffer is Stop, but the filter's data method is called again with all of the body so
	// far whenever more arrives, until it returns another status. The last of these calls has
	// end set, whether trailers follow or not: the body is whole. A body beyond the buffer
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

// Stream is one request with its response, as one of its filters sees it: which filter calls is
// part of the value, so a filter keeps the Stream that it was called with and no other's. All
// methods are for the stream's loop. What a filter has no method for here stands in Info, which
// may be written: dynamic metadata, filter state, response flags.
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
	// Routes is the table that the route is looked up in, nil for none. A stream keeps the one it began
	// with until RenewRoutes has it take the current one and look its route up anew, for a filter that has
	// waited for it before the request was led anywhere.
	Routes() *route.Table
	RenewRoutes()
	// LacksRoutes names the route configuration that the request's scope has to be asked for, with the
	// scopes it is of; "" where nothing has to be asked for.
	LacksRoutes() (*xdsresource.ScopedRoutes, string)
	// FilterConfig is the filter's most specific per-route configuration (weighted cluster,
	// route, virtual host, route table), by the name that the filter has in the configuration;
	// nil when there is none.
	FilterConfig() any
	// EachFilterConfig calls f with the filter's per-route configuration of every level that
	// has one, from the route table to the weighted cluster.
	EachFilterConfig(f func(any))

	// RequestHeaders are never nil. The others are nil until they have been received.
	RequestHeaders() *header.Map
	RequestTrailers() *header.Map
	ResponseHeaders() *header.Map
	ResponseTrailers() *header.Map

	// ContinueRequest goes on behind this filter, which has stopped the request;
	// ContinueResponse the same for the response. Within the filter's own method they do
	// nothing: return Continue there.
	ContinueRequest()
	ContinueResponse()

	// InjectRequest passes a piece of body of the filter's making to the filters behind it, be it
	// within one of its methods, before what that method was called with, or while it has
	// stopped. end: nothing follows; what still comes from the source is then the filter's to
	// drop. Within the headers' method of a message without body it gives it one.
	// InjectResponse is the same for the response.
	InjectRequest(p []byte, end bool)
	InjectResponse(p []byte, end bool)
	// AddRequestTrailers returns the request's trailers to be written to, adding them when there
	// are none. It may be called where end is true, and where trailers are seen anyway.
	// AddResponseTrailers is the same for the response.
	AddRequestTrailers() *header.Map
	AddResponseTrailers() *header.Map

	// SetRequestLimit and SetResponseLimit change how many bytes of body filters may hold, which is
	// the connection's buffer limit at first.
	SetRequestLimit(n int)
	SetResponseLimit(n int)

	// Reply answers the request locally. The response passes the filters' response side.
	// After the response has begun it resets the stream instead.
	Reply(r Reply)
	// ResetResponse ends a response that cannot be completed: the client can tell that it is
	// not whole.
	ResetResponse(details string, flags streaminfo.Flags)
}

// Reply is a local answer.
type Reply struct {
	Code    int
	Body    string // text/plain, unless Headers says otherwise; "" for none
	Details string // response_code_details
	Flags   streaminfo.Flags
	// Headers adds to the response's headers; nil: nothing to add.
	Headers func(h *header.Map)
	// GRPC is the status for a gRPC client, whose answer is 200 with the body as grpc-message; 0:
	// what Code stands for.
	GRPC int
	// Bare: the route adds no headers to the answer.
	Bare bool
}

// Named is a filter of a chain: what server hands to the connection manager.
type Named struct {
	// Name is the filter's in the configuration, by which routes configure it.
	Name string
	// Disabled: only where a route configures it does it run.
	Disabled bool
	Factory
}

// Call is an attempt to get an answer from a host, and is over.
type Call struct {
	Info               *streaminfo.Info // of the attempt, as if it were a stream of its own
	Response, Trailers *header.Map      // nil: none came
	Span               uint64           // its id
	Number             int              // of the request's attempts, from 1
	Reset              string           // why it failed; "": it did not, or not by a reset
	Canceled           bool             // we have ended it
}

// Responder is what a Terminal answers through.
type Responder interface {
	Stream
	// Respond begins the response. h belongs to the caller and must live until the stream
	// is over. end: there is no body.
	Respond(h *header.Map, end bool)
	// Peek is the route, and the cluster chosen by it, that the request would have with its headers as they
	// stand. That of the stream stays.
	Peek() (*route.Entry, *route.Target)
	// Restart ends the stream without an answer to the client and begins the request anew, with its
	// headers as they stand and the body given: filters, route and record start over. The request
	// must have come in full. response is what led to that, for the log. The stream is over when this returns.
	Restart(response *header.Map, body []byte)
	// RespondInterim passes an interim response (1xx but 101).
	RespondInterim(h *header.Map)
	// RespondData sends a piece of body.
	RespondData(p []byte, end bool)
	// RespondTrailers ends the response with trailers.
	RespondTrailers(t *header.Map)
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
	// ReportCall reports the span of an attempt, of a stream whose calls have spans (Info.Trace.Call).
	ReportCall(c *Call)
	// SetMaxDuration bounds the stream's life from its start instead of the connection manager's
	// bound, for a route that has its own. 0 turns it off.
	SetMaxDuration(ns int64)
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
