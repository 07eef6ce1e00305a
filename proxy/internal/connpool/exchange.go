package connpool

import (
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// Exchange is the user of a Client: one upstream attempt of a request. All calls come on the worker's loop.
type Exchange interface {
	// OnClient gives the connection that the exchange waited for.
	OnClient(c *Client)
	// OnNoClient says that there will be none.
	OnNoClient(f Failure, err error)

	// ResponseHead is where the next head is parsed into: an empty map that lives as long as what OnResponse hands over.
	ResponseHead() *header.Map
	// OnInterim is an interim response (1xx, but not 101), in the map of ResponseHead; the values are gone after the call.
	OnInterim(m *http1.Message)
	// OnResponse is the final head, in the map of ResponseHead. head holds the bytes that the map's values are slices of: the
	// exchange releases it when it has done with the map. end: there is no body.
	OnResponse(m *http1.Message, head *iobuf.Block, end bool)
	// OnBody is a piece of the body, valid during the call, or as long as head when end is true and this is the first piece.
	OnBody(p []byte, end bool)
	// OnTrailers ends the response; the values are valid during the call.
	OnTrailers(h *header.Map)
	// OnReset says that the response will not be completed. The Client is gone.
	OnReset(r Reset)
	// OnWritable says that the request's body may be sent again, after Blocked was true.
	OnWritable()
}

// Failure says why there is no connection.
type Failure uint8

// Failures.
const (
	// Overflow is an open circuit breaker.
	Overflow Failure = iota + 1
	// ConnectFailed is a host that refused or could not be reached, or a failed TLS handshake.
	ConnectFailed
	// ConnectTimeout is no connection in time.
	ConnectTimeout
	// HostGone is a host that left the cluster while the exchange waited.
	HostGone
)

// Reset says how an exchange ended before its response was complete.
type Reset struct {
	// Err is the connection's error, nil when the peer closed in order.
	Err error
	// Protocol is why the response was not accepted; nil when it is not that.
	Protocol *http1.Error
	// Reused says that the connection had served an earlier request: a close that crosses the request on the wire is then the
	// host's idle time-out, and no sign of a fault.
	Reused bool
	// ResponseBegun says that OnResponse had been called.
	ResponseBegun bool
}

// Waiting is an exchange's place in the queue for a connection.
type Waiting struct {
	x    Exchange
	o    Options
	pool *Pool
}

// Cancel leaves the queue: neither OnClient nor OnNoClient follows. Calling it late or twice does nothing.
func (w *Waiting) Cancel() {
	if w == nil || w.pool == nil {
		return
	}
	w.pool.cancel(w)
}

// Options are what an exchange wants of its connection.
type Options struct {
	// High asks for the circuit breakers of high priority.
	High bool
	// SNI overrides the server name of TLS (auto_sni); connections are shared only among exchanges that agree on it.
	SNI string
	// VerifyName is a name that the host's certificate must have (auto_san_validation).
	VerifyName string
}
