package connpool

import (
	"github.com/lateen-mesh/lateen/proxy/internal/bytemeter"
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
	"github.com/lateen-mesh/lateen/proxy/internal/proxyprotocol"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
)

// Reason says why a request got no complete response.
type Reason uint8

// Reasons, after Envoy's pool failure and stream reset reasons.
const (
	// ReasonOverflow: a circuit breaker is open. Nothing was sent.
	ReasonOverflow Reason = iota
	// ReasonConnectFailure: no connection could be made. Nothing was sent.
	ReasonConnectFailure
	// ReasonConnectTimeout is ReasonConnectFailure by time-out.
	ReasonConnectTimeout
	// Termination: the connection ended before the response did.
	Termination
	// ProtocolError: what came is no HTTP response.
	ProtocolError
	// RemoteReset: the host reset the request's stream (HTTP/2).
	RemoteReset
	// RemoteRefused: the host says that it has not looked at the request (HTTP/2).
	RemoteRefused
)

// String is what Envoy prints as "reset reason".
func (r Reason) String() string {
	switch r {
	case ReasonOverflow:
		return "overflow"
	case ReasonConnectFailure:
		return "remote connection failure"
	case ReasonConnectTimeout:
		return "connection timeout"
	case Termination:
		return "connection termination"
	case RemoteReset:
		return "remote reset"
	case RemoteRefused:
		return "remote refused stream reset"
	}
	return "protocol error"
}

// Handler is told how a request fares. After Request.Cancel nothing is called any more; after
// OnFailure, OnReset and whatever has end true neither.
type Handler interface {
	// OnReady: there is a connection; send the request. It may come from within Start.
	OnReady(r *Request)
	// OnFailure: there will be no connection. err is nil for ReasonOverflow. It may come from
	// within Start.
	OnFailure(r *Request, why Reason, err *conn.Error)
	// OnInterim is a 1xx response other than 101, in r.Response until the call returns.
	OnInterim(r *Request)
	// OnResponse: r.Response and r.Message are filled and stay until Release.
	OnResponse(r *Request, end bool)
	OnData(r *Request, p []byte, end bool)
	// OnTrailers: r.Trailers end the response.
	OnTrailers(r *Request)
	// OnReset: the response ends unfinished. err is nil when the peer just closed.
	OnReset(r *Request, why Reason, err error)
	// OnWritable: what was to be sent has gone below the low watermark.
	OnWritable(r *Request)
}

// Request is one request given to a pool. The caller embeds it and may use it again after
// Release. The zero Request is ready.
type Request struct {
	Handler  Handler
	Head     bool // the method is HEAD
	Connect  bool // the method is CONNECT
	HighPrio bool // which circuit breakers apply
	// Wish is what the connection's transport is to do for the request. Requests share connections
	// only with those that wish for the same.
	Wish transportsocket.Wish
	// TLVs are extensions of the client's PROXY protocol header.
	TLVs []proxyprotocol.TLV
	// Downstream is the ID of the client's connection, by which a cluster may keep its connections apart.
	Downstream uint64
	// FromHTTP2 says that the client speaks HTTP/2, which a cluster may follow.
	FromHTTP2 bool
	// Raw says that the host takes bytes, not HTTP: OpenRaw stands for SendHead and for the answer's head.
	Raw bool
	// Meter counts the request's bytes; nil: nobody does.
	Meter *bytemeter.Meter
	// Upgrade says that the request asks for another protocol: in HTTP/2 it becomes an extended CONNECT (RFC 8441).
	Upgrade bool

	Response header.Map
	Trailers header.Map
	Message  http1.Message

	pool       *Pool
	client     *Client
	mux        *mux // of HTTP/2; nil: HTTP/1
	stream     *http2.Stream
	chunked    bool
	protocol   []byte // that an extended CONNECT asks for
	block      *iobuf.Block
	next, prev *Request // while pending
	pending    bool
	finished   bool // the request was sent in full
}

// Host is where the request was started.
func (r *Request) Host() *cluster.LocalHost { return r.pool.host }

// Active reports whether the request waits or is under way.
func (r *Request) Active() bool { return r.pending || r.client != nil }

// Fresh reports whether the connection carries its first request.
func (r *Request) Fresh() bool { return r.client != nil && r.client.requests == 1 }

// Finished reports whether the request was sent in full.
func (r *Request) Finished() bool { return r.finished }

// Cancel drops the request: a waiting one leaves the queue, one under way loses its
// connection, because what would still come on it belongs to nobody. Where nothing can come,
// the connection is kept: so an answer that is retried costs no new connection when all of
// it came in one read.
func (r *Request) Cancel() {
	switch {
	case r.pending:
		r.pool.unlink(r)
		r.pool.local.Inc(cluster.RqCancelled)
	case r.client != nil:
		c := r.client
		if r.mux != nil {
			r.cancelHTTP2()
			return
		}
		if c.whole && r.finished && r.Message.KeepAlive {
			c.spared = true
			r.Meter.Got(int(r.Message.Length)) // all of it has come
			c.detach()
			return
		}
		c.detach()
		c.countActive()
		c.close()
	}
}

// Release gives the memory of the response back. Response, Trailers and what they held are
// gone. The request must not be active.
func (r *Request) Release() {
	r.Response.Reset()
	r.Trailers.Reset()
	r.block.Release()
	r.block = nil
	r.finished = false
	r.Message = http1.Message{}
	r.pool = nil
	r.Wish, r.TLVs = transportsocket.Wish{}, nil
}
