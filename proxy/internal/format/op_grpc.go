package format

import (
	"bytes"
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// grpcStatus prints the gRPC status of a gRPC request: from the trailers, from the headers
// of a response without body, or else as gRPC clients derive it from the HTTP status
// (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
type grpcStatus struct{ form string }

var grpcNames = [...][2]string{
	{"OK", "OK"}, {"Canceled", "CANCELLED"}, {"Unknown", "UNKNOWN"}, {"InvalidArgument", "INVALID_ARGUMENT"},
	{"DeadlineExceeded", "DEADLINE_EXCEEDED"}, {"NotFound", "NOT_FOUND"}, {"AlreadyExists", "ALREADY_EXISTS"},
	{"PermissionDenied", "PERMISSION_DENIED"}, {"ResourceExhausted", "RESOURCE_EXHAUSTED"},
	{"FailedPrecondition", "FAILED_PRECONDITION"}, {"Aborted", "ABORTED"}, {"OutOfRange", "OUT_OF_RANGE"},
	{"Unimplemented", "UNIMPLEMENTED"}, {"Internal", "INTERNAL"}, {"Unavailable", "UNAVAILABLE"},
	{"DataLoss", "DATA_LOSS"}, {"Unauthenticated", "UNAUTHENTICATED"},
}

func (o grpcStatus) append(dst []byte, c *Context) ([]byte, bool) {
	n, ok := GRPCStatus(c)
	if !ok {
		return dst, false
	}
	switch {
	case o.form == "NUMBER" || n < 0 || n >= len(grpcNames):
		return strconv.AppendInt(dst, int64(n), 10), true
	case o.form == "SNAKE_STRING":
		return append(dst, grpcNames[n][1]...), true
	}
	return append(dst, grpcNames[n][0]...), true
}

// GRPCStatus returns the gRPC status of a stream, false when it is no gRPC.
func GRPCStatus(c *Context) (int, bool) {
	const grpc = "application/grpc"
	if c.Request == nil {
		return 0, false
	}
	ct, ok := bytes.CutPrefix(c.Request.Value(header.ContentType), []byte(grpc))
	if !ok || len(ct) > 0 && ct[0] != '+' {
		return 0, false
	}
	return GRPCStatusOf(c)
}

// GRPCStatusOf is GRPCStatus for a stream that is taken for gRPC.
func GRPCStatusOf(c *Context) (int, bool) {
	for _, m := range []*header.Map{c.Trailers, c.Response} {
		if m == nil {
			continue
		}
		if v, ok := m.Get(header.GRPCStatus); ok {
			n, err := strconv.ParseUint(string(v), 10, 31)
			if err != nil {
				return -1, true // as Envoy says of what is no status
			}
			return int(n), true
		}
	}
	if c.Info == nil {
		return 0, false
	}
	switch c.Info.ResponseCode {
	case 400:
		return 13, true
	case 401:
		return 16, true
	case 403:
		return 7, true
	case 404:
		return 12, true
	case 429, 502, 503, 504:
		return 14, true
	}
	return 2, true // Unknown: also of a 200 that does not say
}
