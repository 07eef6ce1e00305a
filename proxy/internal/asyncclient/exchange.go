package asyncclient

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/connpool"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// DefaultMaxBody bounds the body of an answer where the request does not: Envoy's bound.
const DefaultMaxBody = 32 << 20

// Request is one HTTP request.
type Request struct {
	Cluster string
	// Headers are those to send, :method, :path and :authority among them; :scheme is added by
	// whether the host is spoken to in TLS. The map is the call's until it is over.
	Headers *header.Map
	// Body is kept, not copied. A content-length is added when it is not empty.
	Body []byte
	// Timeout bounds the call from its start, all attempts together; 0: nothing does.
	Timeout time.Duration
	// Retry says what is tried again; the zero value nothing.
	Retry Retry
	// MaxBody bounds the answer's body in bytes; 0 is DefaultMaxBody.
	MaxBody int
	// SkipEnvoyHeaders leaves out x-envoy-internal, x-forwarded-for and x-envoy-expected-rq-timeout-ms,
	// SkipForwardedFor the second of them.
	SkipEnvoyHeaders, SkipForwardedFor bool
}

// Response is a whole answer. It is valid until the call that hands it over returns.
type Response struct {
	Status            int
	Headers, Trailers *header.Map
	Body              []byte
}

// Error says why there is no answer.
type Error struct {
	// Code is the status with which a proxy would answer for it: 502, 503, 504.
	Code int
	// Text is what went wrong, in the words of Envoy's answers.
	Text string
	// Begun says that the answer had begun, and was cut off or too large.
	Begun bool
	// TooLarge says that it was larger than the request allows.
	TooLarge bool
	// Cause is the connection's error, nil for none.
	Cause error
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Text + ": " + e.Cause.Error()
	}
	return e.Text
}

// Unwrap returns the connection's error.
func (e *Error) Unwrap() error { return e.Cause }

// Send sends a request. See the package's comment for when done is called.
func (c *Client) Send(r Request, done func(*Response, error)) (cancel func()) {
	x := &exchange{c: c, in: r, done: done}
	x.start()
	return x.cancel
}

// exchange is a request under way.
type exchange struct {
	c        *Client
	in       Request
	done     func(*Response, error) // nil when the exchange is over
	starting bool                   // Send has not returned

	local     *cluster.Local
	host      *cluster.LocalHost
	req       connpool.Request
	reused    bool // the connection served an earlier request
	begun     bool // the answer's head is here
	began     int64
	body      []byte
	grpc      bool // the host is judged by grpc-status
	unsettled bool // which the answer's head did not have
	track     track
	asked     int64 // when the call began
	retry     retryState
	perTry    time.Duration
	timer     eventloop.Timer // of the call
	tryTimer  eventloop.Timer // of the attempt
	backOff   eventloop.Timer
	failure   *Error // found while starting; told by later
	later     eventloop.Deferred
	repeated  bool // outside of the policy
}

var (
	expectedKey     = header.KeyOf("x-envoy-expected-rq-timeout-ms")
	forwardedForKey = header.KeyOf("x-forwarded-for")
	serviceTimeKey  = header.KeyOf("x-envoy-upstream-service-time")
)

func (x *exchange) start() {
	x.req.Handler = x
	x.timer.Init(x.onTimeout)
	x.tryTimer.Init(x.onTryTimeout)
	x.backOff.Init(x.attempt)
	x.later.Init(x)
	x.starting = true
	x.begin()
	x.starting = false
}

// begin prepares the request, and sends it for the first time.
func (x *exchange) begin() {
	if x.local = x.c.clusters.Get(x.in.Cluster); x.local == nil {
		x.fail(&Error{Code: http.StatusServiceUnavailable, Text: "Cluster not available"})
		return
	}
	x.c.shard.Add(x.c.stats.Counter(rqTotal), 1)
	if drop, all := x.local.Drops(x.c.loop.Rand()); drop {
		text := "drop overload"
		if all {
			text = "unconditional drop overload"
		}
		x.failCounted(&Error{Code: http.StatusServiceUnavailable, Text: text})
		return
	}
	if t := x.in.Retry.PerTry; x.in.Timeout <= 0 || t < x.in.Timeout { // a try cannot outlast the call
		x.perTry = t
	}
	h := x.in.Headers
	if len(x.in.Body) > 0 && !x.grpc && !h.Has(header.ContentLength) {
		h.Set(header.ContentLength, strconv.AppendInt(nil, int64(len(x.in.Body)), 10))
	}
	if !x.in.SkipEnvoyHeaders {
		h.SetString(header.XEnvoyInternal, "true")
		if x.c.address.IsValid() && !x.in.SkipForwardedFor {
			b := h.Build()
			if old := h.Value(header.XForwardedFor); len(old) > 0 {
				b = append(append(b, old...), ',')
			}
			h.SetBuilt(forwardedForKey, x.c.address.AppendTo(b))
		}
		if expected := cmp.Or(x.perTry, x.in.Timeout); expected > 0 {
			h.SetBuilt(expectedKey, strconv.AppendInt(h.Build(), expected.Milliseconds(), 10))
		}
	}
	x.asked = x.c.loop.Now()
	if x.in.Timeout > 0 {
		x.c.loop.Arm(&x.timer, x.in.Timeout)
	}
	x.retry.left = x.in.Retry.Num
	x.attempt()
}

// attempt sends the request to a host.
func (x *exchange) attempt() {
	ctx := lb.Context{Rand: x.c.loop.Rand(), Hasher: x}
	x.host = x.local.Pick(&ctx)
	if x.host == nil {
		x.local.Inc(cluster.CxNoneHealthy)
		x.failCounted(&Error{Code: http.StatusServiceUnavailable, Text: "no healthy upstream"})
		return
	}
	x.beginTrack()
	h := x.in.Headers
	x.req.Head = string(h.Value(header.Method)) == "HEAD"
	x.req.FromHTTP2 = x.grpc
	if t, ok := x.host.Host.Transport.(*transportsocket.Upstream); ok && t.TLS != nil {
		up := &x.local.Config().HTTP
		x.req.Wish.NameHost(string(h.Value(header.Authority)), up.AutoSNI, up.AutoSANValidation)
	}
	connpool.For(x.c.loop, x.host).Start(&x.req)
}

// HashBy implements lb.Hasher: a call has headers, and nobody who would come back with a cookie.
func (x *exchange) HashBy(policies []xdsresource.HashPolicy) (hash uint64, ok bool) {
	hash, ok, _ = route.Hash(policies, route.HashInput{Headers: x.in.Headers}, nil)
	return hash, ok
}

// OnReady implements connpool.Handler, as do the methods below.
func (x *exchange) OnReady(req *connpool.Request) {
	x.reused = !req.Fresh()
	x.host.OnResult(cluster.Result{Kind: cluster.ResultReady})
	x.began = x.c.loop.Now()
	h := x.in.Headers
	scheme := "http"
	if t, ok := x.host.Host.Transport.(*transportsocket.Upstream); ok && t.TLS != nil {
		scheme = "https"
	}
	h.SetString(header.Scheme, scheme)
	req.SendHead(h, len(x.in.Body) == 0)
	if len(x.in.Body) > 0 {
		req.SendData(x.in.Body, true)
	}
	if x.perTry > 0 {
		x.c.loop.Arm(&x.tryTimer, x.perTry)
	}
}

// OnFailure: there is no connection.
func (x *exchange) OnFailure(_ *connpool.Request, why connpool.Reason, err *conn.Error) {
	e := resetError(why)
	if err != nil {
		e.Cause = err
	}
	x.reset(e, why)
}

// OnInterim drops what comes ahead of the answer.
func (x *exchange) OnInterim(*connpool.Request) {}

// OnWritable has nothing to do: the body was handed over whole.
func (x *exchange) OnWritable(*connpool.Request) {}

// OnResponse is the head of an answer.
func (x *exchange) OnResponse(req *connpool.Request, end bool) {
	code := req.Message.Status
	x.track.head(req)
	x.host.OnResult(x.result(code, &req.Response))
	if req.Response.Has(header.XEnvoyImmediateHealthCheckFail) {
		x.host.ImmediateFailure()
	}
	if x.in.Retry.wantsResponse(code) && x.tryAgain() {
		x.local.CountRetriedResponse(code)
		x.dropAttempt()
		return
	}
	x.begun = true
	if !x.in.SkipEnvoyHeaders { // Envoy's router leaves it in the answers that filters get, too
		h := &req.Response
		h.SetBuilt(serviceTimeKey, strconv.AppendInt(h.Build(), max(0, x.c.loop.Now()-x.began)/1e6, 10))
	}
	x.retry.finished(x.local, code)
	x.local.CountResponse(code, true)
	if end {
		x.complete(nil)
	}
}

// OnData is a piece of the answer's body.
func (x *exchange) OnData(_ *connpool.Request, p []byte, end bool) {
	x.track.received += uint64(len(p))
	limit := x.in.MaxBody
	if limit <= 0 {
		limit = DefaultMaxBody
	}
	if len(x.body)+len(p) > limit {
		x.fail(&Error{Code: http.StatusBadGateway, Begun: true, TooLarge: true, Text: fmt.Sprintf("the answer is larger than %d bytes", limit)})
		return
	}
	switch {
	case end && len(x.body) == 0:
		x.complete(p)
	case end:
		x.complete(append(x.body, p...))
	default:
		x.body = append(x.body, p...)
	}
}

// OnTrailers ends the answer.
func (x *exchange) OnTrailers(*connpool.Request) { x.complete(x.body) }

// OnReset: the connection, or the stream, failed under the request.
func (x *exchange) OnReset(_ *connpool.Request, why connpool.Reason, err error) {
	if why == connpool.Termination && !x.begun && x.onceMore() {
		return
	}
	x.host.OnResult(cluster.Result{Kind: cluster.ResultReset})
	e := resetError(why)
	e.Begun, e.Cause = x.begun, err
	x.reset(e, why)
}

func resetError(why connpool.Reason) *Error {
	e := &Error{Code: http.StatusServiceUnavailable, Text: "upstream connect error or disconnect/reset before headers. reset reason: " + why.String()}
	if why == connpool.ProtocolError {
		e.Code = http.StatusBadGateway
	}
	return e
}

// reset ends an attempt without an answer, and the exchange unless it is tried again.
func (x *exchange) reset(e *Error, why connpool.Reason) {
	switch {
	case e.Begun:
		x.fail(e)
	case x.in.Retry.wantsReset(why) && x.tryAgain():
		x.dropAttempt()
	default:
		x.failCounted(e)
	}
}

func (x *exchange) onTimeout() {
	x.local.Inc(cluster.RqTimeout)
	x.trackCall()
	x.track.cutOff = !x.begun
	if x.host != nil && x.req.Active() {
		x.host.OnResult(cluster.Result{Kind: cluster.ResultTimeout})
	}
	e := &Error{Code: http.StatusGatewayTimeout, Text: "upstream request timeout", Begun: x.begun}
	if x.begun {
		x.fail(e)
		return
	}
	x.failCounted(e)
}

// onTryTimeout gives one attempt up, which is as good as a reset of it.
func (x *exchange) onTryTimeout() {
	x.local.Inc(cluster.RqPerTryTimeout)
	if !x.begun {
		x.host.OnResult(cluster.Result{Kind: cluster.ResultTimeout})
	}
	x.reset(&Error{Code: http.StatusGatewayTimeout, Text: "upstream request timeout", Begun: x.begun}, connpool.Termination)
}

// failCounted is fail, where the router's own answer counts as one of the cluster.
func (x *exchange) failCounted(e *Error) {
	x.retry.finished(x.local, e.Code)
	x.local.CountResponse(e.Code, true)
	x.fail(e)
}

// fail ends the exchange without an answer. Within Send it is told later.
func (x *exchange) fail(e *Error) {
	if x.starting {
		x.failure = e
		x.c.loop.Disarm(&x.timer)
		x.c.loop.Defer(&x.later)
		return
	}
	if done := x.over(); done != nil {
		done(nil, e)
	}
	x.release()
}

// RunDeferred implements eventloop.Runner: it tells of what failed within Send.
func (x *exchange) RunDeferred() {
	if x.done != nil {
		x.fail(x.failure)
	}
}

// complete ends the exchange with its answer.
func (x *exchange) complete(body []byte) {
	x.local.RecordTime(uint64(max(0, x.c.loop.Now()-x.began)/1e6), true)
	x.settle()
	x.trackCall()
	x.endTrack()
	done := x.over()
	done(&Response{Status: x.req.Message.Status, Headers: &x.req.Response, Trailers: &x.req.Trailers, Body: body}, nil)
	x.release()
}

// over ends the exchange, and returns whom to tell, nil when there is nobody.
func (x *exchange) over() func(*Response, error) {
	done := x.done
	x.done = nil
	x.c.loop.Disarm(&x.timer)
	x.c.loop.Disarm(&x.tryTimer)
	x.c.loop.Disarm(&x.backOff)
	if x.local != nil {
		x.retry.release(x.local)
	}
	return done
}

// release gives everything back after the end was told.
func (x *exchange) release() {
	x.dropAttempt()
	x.body, x.in.Body, x.in.Headers = nil, nil, nil
}

func (x *exchange) cancel() {
	if x.done == nil {
		return
	}
	x.over()
	x.release()
}

func (x *exchange) dropAttempt() {
	x.endTrack()
	x.c.loop.Disarm(&x.tryTimer)
	if x.req.Active() {
		x.req.Cancel()
	}
	x.req.Release()
}
