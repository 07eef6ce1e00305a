package asyncclient

import (
	"encoding/binary"
	"net/url"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// GRPCRequest is one call of a method of a service.
type GRPCRequest struct {
	Cluster string
	// Authority is the request's host; "": the cluster's name.
	Authority string
	// Method is "/package.Service/Method".
	Method string
	// Message is the serialised message. It is copied.
	Message []byte
	// Metadata are headers to send, in lower case; nil for none.
	Metadata map[string]string
	// Timeout bounds the call, and is told to the service; 0: nothing does.
	Timeout time.Duration
	// MaxMessage bounds the answer in bytes; 0 is DefaultMaxBody.
	MaxMessage int
	// SkipEnvoyHeaders is Request's.
	SkipEnvoyHeaders bool
	// Headers, where not nil, are sent as well: a trace's context, for one. They are copied.
	Headers *header.Map
}

// Status is how a call of gRPC ended.
type Status struct {
	Code    grpcstatus.Code
	Message string
}

// OK reports whether the call went well.
func (s Status) OK() bool { return s.Code == grpcstatus.OK }

// prefix is what stands before a message: a flag for compression, and a length.
const prefix = 5

// Unary calls a method. done gets the answer's message, which is valid until it returns, when the
// status is OK; otherwise none. See the package's comment for when it is called.
func (c *Client) Unary(r GRPCRequest, done func(message []byte, status Status)) (cancel func()) {
	h := &header.Map{}
	h.AddString(header.Method, "POST")
	h.AddString(header.Path, r.Method)
	authority := r.Authority
	if authority == "" {
		authority = r.Cluster
	}
	h.AddString(header.Authority, authority)
	h.AddString(header.TE, "trailers")
	h.AddString(header.ContentType, "application/grpc")
	if r.Timeout > 0 {
		h.Add(header.GRPCTimeout, appendTimeout(nil, r.Timeout))
	}
	for name, v := range r.Metadata {
		h.SetName(name, []byte(v))
	}
	if r.Headers != nil {
		for i := range r.Headers.Len() {
			h.AddCopy(r.Headers.At(i))
		}
	}
	body := make([]byte, prefix, prefix+len(r.Message))
	binary.BigEndian.PutUint32(body[1:], uint32(len(r.Message)))
	limit := r.MaxMessage
	if limit <= 0 {
		limit = DefaultMaxBody
	}
	x := &exchange{
		c: c, grpc: true,
		in: Request{
			Cluster: r.Cluster, Headers: h, Body: append(body, r.Message...), Timeout: r.Timeout, MaxBody: limit + prefix,
			SkipEnvoyHeaders: r.SkipEnvoyHeaders,
		},
		done: func(resp *Response, err error) { done(unaryAnswer(resp, err)) },
	}
	x.start()
	return x.cancel
}

// unaryAnswer judges an exchange as Envoy's gRPC client does.
func unaryAnswer(resp *Response, err error) ([]byte, Status) {
	if e, ok := err.(*Error); ok { // nothing else ends an exchange
		switch {
		case e.TooLarge:
			return nil, Status{Code: grpcstatus.ResourceExhausted, Message: e.Text}
		case e.Begun:
			return nil, Status{Code: grpcstatus.Internal}
		}
		return nil, Status{Code: grpcstatus.FromHTTP(e.Code), Message: e.Text}
	}
	only := resp.Trailers.Len() == 0 && len(resp.Body) == 0
	if resp.Status != 200 && !(only && resp.Headers.Has(header.GRPCStatus)) {
		return nil, Status{Code: grpcstatus.FromHTTP(resp.Status)}
	}
	t := resp.Trailers
	if only {
		t = resp.Headers
	}
	message, ok := soleMessage(resp.Body)
	if !ok {
		return nil, Status{Code: grpcstatus.Internal}
	}
	status := Status{Code: grpcstatus.Unknown}
	if v, ok := t.Get(header.GRPCStatus); ok {
		if code, ok := grpcstatus.Parse(v); ok {
			status.Code = code
		}
	}
	if v := t.Value(header.GRPCMessage); len(v) > 0 {
		status.Message = decodeMessage(string(v))
	}
	switch {
	case status.Code != grpcstatus.OK:
		return nil, status
	case len(resp.Body) == 0:
		return nil, Status{Code: grpcstatus.Internal}
	}
	return message, status
}

// soleMessage takes the last message out of a body of whole ones. A compressed one was not asked
// for. A second one is not expected; as in Envoy the last counts.
func soleMessage(body []byte) (message []byte, ok bool) {
	for len(body) > 0 {
		if len(body) < prefix {
			return nil, false
		}
		n := uint64(binary.BigEndian.Uint32(body[1:]))
		if body[0] != 0 && (n > 0 || body[0] != 1) || uint64(len(body)-prefix) < n {
			return nil, false
		}
		message, body = body[prefix:prefix+n], body[prefix+n:]
	}
	return message, true
}

// decodeMessage undoes the percent-encoding of grpc-message; what is not encoded right stays.
func decodeMessage(v string) string {
	if s, err := url.PathUnescape(v); err == nil {
		return s
	}
	return v
}

// appendTimeout writes grpc-timeout: at most eight digits, and a unit
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
func appendTimeout(dst []byte, d time.Duration) []byte {
	const most = 99999999
	for _, u := range [...]struct {
		name byte
		size time.Duration
	}{{'m', time.Millisecond}, {'S', time.Second}, {'M', time.Minute}} {
		if n := int64(d / u.size); n <= most {
			return append(strconv.AppendInt(dst, n, 10), u.name)
		}
	}
	return append(strconv.AppendInt(dst, min(int64(d/time.Hour), most), 10), 'H')
}
