package format

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// valueOp is an operator without argument.
type valueOp struct {
	f      func(dst []byte, c *Context) ([]byte, bool)
	number bool // a JSON number
}

func (o *valueOp) append(dst []byte, c *Context) ([]byte, bool) { return o.f(dst, c) }

// newOperator returns the operator of a name.
func newOperator(name, arg string, hasArg bool) (operator, error) {
	switch name {
	case "REQ", "REQUEST_HEADER":
		return newHeaderOp('q', arg, hasArg)
	case "RESP", "RESPONSE_HEADER":
		return newHeaderOp('s', arg, hasArg)
	case "TRAILER", "RESPONSE_TRAILER":
		return newHeaderOp('t', arg, hasArg)
	case "STREAM_INFO_REQ": // the same headers, also where a log of Envoy's knows them only from its record
		return newHeaderOp('q', arg, hasArg)
	case "UPSTREAM_FILTER_STATE":
		return newUpstreamStateOp(arg)
	case "REQ_WITHOUT_QUERY":
		op, err := newHeaderOp('q', arg, hasArg)
		return withoutQuery{op}, err
	case "START_TIME":
		return newTimeOp(arg, false, startTime)
	case "START_TIME_LOCAL":
		return newTimeOp(arg, true, startTime)
	case "EMIT_TIME":
		return newTimeOp(arg, false, now)
	case "EMIT_TIME_LOCAL":
		return newTimeOp(arg, true, now)
	case "ENVIRONMENT":
		if arg == "" {
			return nil, errors.New("needs the name of a variable in parentheses")
		}
		return constant(os.Getenv(arg)), nil
	case "HOSTNAME":
		h, err := os.Hostname()
		if err != nil {
			h = ""
		}
		return constant(h), nil
	case "DYNAMIC_METADATA":
		return newMetadataOp("DYNAMIC", arg)
	case "CLUSTER_METADATA":
		return newMetadataOp("CLUSTER", arg)
	case "UPSTREAM_METADATA":
		return newMetadataOp("UPSTREAM_HOST", arg)
	case "METADATA":
		kind, rest, _ := strings.Cut(arg, ":")
		return newMetadataOp(kind, rest)
	case "DOWNSTREAM_PEER_CERT_V_START":
		return side(downstreamSide).validity(arg, notBefore)
	case "DOWNSTREAM_PEER_CERT_V_END":
		return side(downstreamSide).validity(arg, notAfter)
	case "UPSTREAM_PEER_CERT_V_START":
		return side(upstreamSide).validity(arg, notBefore)
	case "UPSTREAM_PEER_CERT_V_END":
		return side(upstreamSide).validity(arg, notAfter)
	case "COMMON_DURATION":
		return newCommonDuration(arg)
	case "PATH":
		return newPathOp(arg)
	case "QUERY_PARAMS":
		return newQueryOp(arg)
	case "REQUESTED_SERVER_NAME":
		return newServerName(arg)
	case "COALESCE":
		return newCoalesce(arg)
	case "RESPONSE_CODE_DETAILS":
		switch arg {
		case "":
			return plainOperators[name], nil
		case "ALLOW_WHITESPACES":
			return text(func(c *Context) string { return c.Info.Details }), nil
		}
		return nil, fmt.Errorf("argument %q is not ALLOW_WHITESPACES", arg)
	case "FILTER_STATE":
		return newStateOp(arg)
	case "CEL", "TYPED_CEL":
		return newExpression(arg, name == "TYPED_CEL")
	case "QUERY_PARAM":
		if arg == "" {
			return nil, errors.New("needs the name of a parameter in parentheses")
		}
		return queryOp{arg}, nil
	case "GRPC_STATUS":
		switch arg {
		case "", "CAMEL_STRING", "NUMBER", "SNAKE_STRING":
			return grpcStatus{arg}, nil
		}
		return nil, fmt.Errorf("argument %q is none of CAMEL_STRING, SNAKE_STRING, NUMBER", arg)
	}
	op, ok := plainOperators[name]
	for _, more := range []map[string]*valueOp{certificateOperators, meterOperators} {
		if !ok {
			op, ok = more[name]
		}
	}
	switch {
	case !ok:
		return nil, errors.New("is not supported")
	case hasArg && arg != "":
		return nil, errors.New("takes no argument")
	}
	return op, nil
}

func startTime(c *Context) (time.Time, bool) {
	if c.Info == nil || c.Info.StartWall.IsZero() {
		return time.Time{}, false
	}
	return c.Info.StartWall, true
}

func now(*Context) (time.Time, bool) { return time.Now(), true }

// constant is a value known when the format is compiled; empty is missing.
type constant string

func (s constant) append(dst []byte, _ *Context) ([]byte, bool) {
	return append(dst, s...), s != ""
}

type withoutQuery struct{ operator }

func (o withoutQuery) append(dst []byte, c *Context) ([]byte, bool) {
	n := len(dst)
	dst, ok := o.operator.append(dst, c)
	for i := n; i < len(dst); i++ {
		if dst[i] == '?' {
			return dst[:i], ok
		}
	}
	return dst, ok
}

// plainOperators are those without an argument.
var plainOperators = map[string]*valueOp{
	"PROTOCOL":                          text(func(c *Context) string { return c.Info.Protocol.String() }),
	"RESPONSE_CODE":                     {f: responseCode, number: true},
	"RESPONSE_CODE_DETAILS":             words(func(c *Context) string { return c.Info.Details }),
	"CONNECTION_TERMINATION_DETAILS":    text(func(c *Context) string { return c.Info.TerminationDetails }),
	"UPSTREAM_TRANSPORT_FAILURE_REASON": words(func(c *Context) string { return c.Info.UpstreamFailure }),
	"RESPONSE_FLAGS":                    {f: func(d []byte, c *Context) ([]byte, bool) { return flags(d, c, false) }},
	"RESPONSE_FLAGS_LONG":               {f: func(d []byte, c *Context) ([]byte, bool) { return flags(d, c, true) }},
	"BYTES_RECEIVED":                    count(func(c *Context) uint64 { return c.Info.BytesReceived }),
	"BYTES_SENT":                        count(func(c *Context) uint64 { return c.Info.BytesSent }),
	"REQUEST_HEADERS_BYTES":             count(func(c *Context) uint64 { return uint64(c.Info.RequestHeaderSize) }),
	"RESPONSE_HEADERS_BYTES":            count(func(c *Context) uint64 { return uint64(c.Info.ResponseHeaderSize) }),
	"UPSTREAM_REQUEST_ATTEMPT_COUNT":    count(func(c *Context) uint64 { return uint64(c.Info.Attempts) }),
	"CONNECTION_ID":                     count(func(c *Context) uint64 { return c.Info.ConnectionID }),
	"DURATION":                          span(func(c *Context) (int64, int64) { return c.Info.Start, c.Info.End }),
	"REQUEST_DURATION":                  span(func(c *Context) (int64, int64) { return c.Info.Start, c.Info.RequestEnd }),
	"REQUEST_TX_DURATION":               span(func(c *Context) (int64, int64) { return c.Info.Start, c.Info.UpstreamTxLast }),
	"RESPONSE_DURATION":                 span(func(c *Context) (int64, int64) { return c.Info.Start, c.Info.UpstreamRxFirst }),
	"RESPONSE_TX_DURATION":              span(func(c *Context) (int64, int64) { return c.Info.UpstreamRxFirst, c.Info.ResponseEnd }),

	"UPSTREAM_HOST":                                 text(upstreamHost),
	"UPSTREAM_HOST_NAME":                            text(upstreamHostName),
	"UPSTREAM_CLUSTER":                              text(upstreamCluster),
	"UPSTREAM_CLUSTER_RAW":                          text(func(c *Context) string { return c.Info.UpstreamCluster }),
	"UPSTREAM_REMOTE_ADDRESS":                       text(upstreamRemoteText),
	"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":          ip(upstreamRemote),
	"UPSTREAM_REMOTE_PORT":                          port(upstreamRemote),
	"UPSTREAM_LOCAL_ADDRESS":                        address(upstreamLocal),
	"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":           ip(upstreamLocal),
	"UPSTREAM_LOCAL_PORT":                           port(upstreamLocal),
	"DOWNSTREAM_LOCAL_ADDRESS":                      address(downstreamLocal),
	"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":         ip(downstreamLocal),
	"DOWNSTREAM_LOCAL_PORT":                         port(downstreamLocal),
	"DOWNSTREAM_REMOTE_ADDRESS":                     address(downstreamRemote),
	"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":        ip(downstreamRemote),
	"DOWNSTREAM_REMOTE_PORT":                        port(downstreamRemote),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS":              address(downstreamDirect),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": ip(downstreamDirect),
	"DOWNSTREAM_DIRECT_REMOTE_PORT":                 port(downstreamDirect),
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS":               address(downstreamDirectLocal),
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT":  ip(downstreamDirectLocal),
	"DOWNSTREAM_DIRECT_LOCAL_PORT":                  port(downstreamDirectLocal),
	"DOWNSTREAM_TRANSPORT_FAILURE_REASON":           words(func(c *Context) string { return c.Info.DownstreamFailure }),
	"DOWNSTREAM_CX_RTT":                             {f: roundTrip, number: true},
	"DOWNSTREAM_HANDSHAKE_DURATION":                 span(downstreamHandshake),
	"UPSTREAM_PROTOCOL":                             text(func(c *Context) string { return c.Info.UpstreamProtocol.String() }),
	"UPSTREAM_CONNECTION_ID":                        {f: upstreamConnectionID, number: true},
	"UPSTREAM_CONNECTION_POOL_READY_DURATION":       span(func(c *Context) (int64, int64) { return c.Info.Start, c.Info.UpstreamTxFirst }),
	"UPSTREAM_HOST_NAME_WITHOUT_PORT": text(func(c *Context) string {
		if c.Info.Host == nil {
			return ""
		}
		return withoutPort(hostName)(c.Info.Host)
	}),
	"UPSTREAM_HOSTS_ATTEMPTED":                   attempted(hostAddress),
	"UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT":      attempted(hostIP),
	"UPSTREAM_HOST_NAMES_ATTEMPTED":              attempted(hostName),
	"UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT": attempted(withoutPort(hostName)),

	"FILTER_CHAIN_NAME": ofConnection(func(i *conn.Info) string { return i.FilterChain }),
	"UPSTREAM_SERVER_NAME": text(func(c *Context) string {
		if c.Info.UpstreamTLSState == nil {
			return ""
		}
		return c.Info.UpstreamTLSState.ServerName
	}),
	"RESPONSE_TRAILERS_BYTES": {f: trailersBytes, number: true},
	// Of QUIC, and of filters that set flags of their own: there are none.
	"BYTES_RETRANSMITTED":   count(func(*Context) uint64 { return 0 }),
	"PACKETS_RETRANSMITTED": count(func(*Context) uint64 { return 0 }),
	"ROUNDTRIP_DURATION":    text(func(*Context) string { return "" }),
	"CUSTOM_FLAGS":          text(func(*Context) string { return "" }),

	"ROUTE_RESOLUTION_COUNT":            count(func(c *Context) uint64 { return uint64(c.Info.RouteLookUps) }),
	"ROUTE_RESOLUTION_TIME_US":          {f: routeTime, number: true},
	"UPSTREAM_CONNECTION_IDS_ATTEMPTED": {f: upstreamConnectionID}, // as in Envoy, of the last attempt
	"LISTENER_NAME":                     ofConnection(func(i *conn.Info) string { return i.Listener }),
	"TLS_JA3_FINGERPRINT":               ofConnection(func(i *conn.Info) string { return i.JA3 }),
	"TLS_JA4_FINGERPRINT":               ofConnection(func(i *conn.Info) string { return i.JA4 }),
	"DOWNSTREAM_DETECTED_CLOSE_TYPE":    text(func(c *Context) string { return c.Info.DownstreamClose.String() }),
	"UPSTREAM_DETECTED_CLOSE_TYPE":      text(upstreamClose),
	"DOWNSTREAM_LOCAL_CLOSE_REASON":     text(func(c *Context) string { return c.Info.DownstreamCloseReason }),
	"UPSTREAM_LOCAL_CLOSE_REASON":       text(func(c *Context) string { return c.Info.UpstreamCloseReason }),
	// Of addresses that are no IP addresses but names within the process: there are none.
	"DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID":        endpointID(downstreamLocal),
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID": endpointID(downstreamDirectLocal),
	"UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID":         endpointID(upstreamRemote),

	"ACCESS_LOG_TYPE":      text(func(c *Context) string { return c.LogType.String() }),
	"UNIQUE_ID":            {f: uniqueID},
	"ROUTE_NAME":           text(func(c *Context) string { return c.Info.RouteName }),
	"VIRTUAL_CLUSTER_NAME": text(func(c *Context) string { return c.Info.VirtualCluster }),
	"LOCAL_REPLY_BODY":     {f: func(d []byte, c *Context) ([]byte, bool) { return append(d, c.LocalReply...), true }},
	"GRPC_STATUS_NUMBER":   {f: grpcStatus{"NUMBER"}.append, number: true},
	"TRACE_ID":             {f: traceID},
	"SPAN_ID":              {f: spanID},
	"STREAM_ID":            {f: requestID},
}

// certificateOperators are those of either side's TLS session.
var certificateOperators = peerOperators()

// meterOperators are those of bytes on the wire.
var meterOperators = wireOperators()

// text makes an operator of a string; empty is missing, as is a context without Info.
func text(f func(*Context) string) *valueOp {
	return &valueOp{f: func(dst []byte, c *Context) ([]byte, bool) {
		if c.Info == nil {
			return dst, false
		}
		s := f(c)
		return append(dst, s...), s != ""
	}}
}

// words is text with underscores for white space, so that a log line keeps its columns.
func words(f func(*Context) string) *valueOp {
	op := text(f)
	return &valueOp{f: func(dst []byte, c *Context) ([]byte, bool) {
		n := len(dst)
		dst, ok := op.f(dst, c)
		for i := n; i < len(dst); i++ {
			switch dst[i] {
			case ' ', '\t', '\n', '\r':
				dst[i] = '_'
			}
		}
		return dst, ok
	}}
}

func count(f func(*Context) uint64) *valueOp {
	return &valueOp{number: true, f: func(dst []byte, c *Context) ([]byte, bool) {
		if c.Info == nil {
			return dst, false
		}
		return strconv.AppendUint(dst, f(c), 10), true
	}}
}

// span is milliseconds between two points in time; missing when one was not reached.
func span(f func(*Context) (from, to int64)) *valueOp {
	return &valueOp{number: true, f: func(dst []byte, c *Context) ([]byte, bool) {
		if c.Info == nil {
			return dst, false
		}
		from, to := f(c)
		if from == 0 || to == 0 {
			return dst, false
		}
		return strconv.AppendInt(dst, (to-from)/1e6, 10), true
	}}
}

func address(f func(*Context) netip.AddrPort) *valueOp {
	return &valueOp{f: func(dst []byte, c *Context) ([]byte, bool) {
		if c.Info == nil {
			return dst, false
		}
		a := f(c)
		if !a.IsValid() {
			return dst, false
		}
		return a.AppendTo(dst), true
	}}
}

func ip(f func(*Context) netip.AddrPort) *valueOp {
	return &valueOp{f: func(dst []byte, c *Context) ([]byte, bool) {
		if c.Info == nil {
			return dst, false
		}
		a := f(c)
		if !a.IsValid() {
			return dst, false
		}
		return a.Addr().AppendTo(dst), true
	}}
}

func port(f func(*Context) netip.AddrPort) *valueOp {
	return &valueOp{number: true, f: func(dst []byte, c *Context) ([]byte, bool) {
		if c.Info == nil {
			return dst, false
		}
		a := f(c)
		if !a.IsValid() {
			return dst, false
		}
		return strconv.AppendUint(dst, uint64(a.Port()), 10), true
	}}
}

// responseCode prints 0 for a stream without response, as Envoy does.
func responseCode(dst []byte, c *Context) ([]byte, bool) {
	if c.Info == nil {
		return dst, false
	}
	return strconv.AppendInt(dst, int64(c.Info.ResponseCode), 10), true
}

// flags prints "-" for none, as Envoy does even where a missing value is null.
func flags(dst []byte, c *Context, long bool) ([]byte, bool) {
	if c.Info == nil {
		return dst, false
	}
	if long {
		return c.Info.AppendFlagsLong(dst), true
	}
	return c.Info.AppendFlags(dst), true
}

// uniqueID is a new random UUID each time it is printed.
func uniqueID(dst []byte, _ *Context) ([]byte, bool) {
	hi, lo := rand.Uint64()&^0xf000|0x4000, rand.Uint64()&^(3<<62)|1<<63
	var b [32]byte
	h := appendHex(appendHex(b[:0], hi), lo)
	for i, n := range [...]int{8, 12, 16, 20, 32} {
		if i > 0 {
			dst = append(dst, '-')
		}
		from := [...]int{0, 8, 12, 16, 20}[i]
		dst = append(dst, h[from:n]...)
	}
	return dst, true
}

func requestID(dst []byte, c *Context) ([]byte, bool) {
	if c.Info == nil {
		return dst, false
	}
	return append(dst, c.Info.RequestID...), len(c.Info.RequestID) > 0
}

func traceID(dst []byte, c *Context) ([]byte, bool) {
	if c.Info == nil || !c.Info.Trace.Valid() {
		return dst, false
	}
	if c.Info.Trace.High != 0 {
		dst = appendHex(dst, c.Info.Trace.High)
	}
	return appendHex(dst, c.Info.Trace.Low), true
}

func spanID(dst []byte, c *Context) ([]byte, bool) {
	if c.Info == nil || !c.Info.Trace.Valid() {
		return dst, false
	}
	return appendHex(dst, c.Info.Trace.Span), true
}

func appendHex(dst []byte, n uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[n>>uint(shift)&15])
	}
	return dst
}

// queryOp is a query parameter, percent-decoded.
type queryOp struct{ name string }

func (o queryOp) append(dst []byte, c *Context) ([]byte, bool) {
	if c.Request == nil {
		return dst, false
	}
	_, q, ok := strings.Cut(string(c.Request.Value(header.Path)), "?")
	for ok && q != "" {
		var kv string
		kv, q, _ = strings.Cut(q, "&")
		if k, v, _ := strings.Cut(kv, "="); decodePercent(k) == o.name {
			return append(dst, decodePercent(v)...), true
		}
	}
	return dst, false
}

// decodePercent resolves %XX; malformed escapes stay as they are, as in Envoy.
func decodePercent(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(n))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}
