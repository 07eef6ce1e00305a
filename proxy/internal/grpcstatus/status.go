// Package grpcstatus is gRPC's status codes for code that speaks gRPC without its library: their
// numbers, and what they and HTTP's stand for in the other's terms. It is a leaf of the data path.
package grpcstatus

import "strconv"

// Code is a status of gRPC (https://grpc.github.io/grpc/core/md_doc_statuscodes.html). One that is
// not among these is kept as it came.
type Code uint32

// Codes.
const (
	OK Code = iota
	Canceled
	Unknown
	InvalidArgument
	DeadlineExceeded
	NotFound
	AlreadyExists
	PermissionDenied
	ResourceExhausted
	FailedPrecondition
	Aborted
	OutOfRange
	Unimplemented
	Internal
	Unavailable
	DataLoss
	Unauthenticated
)

// Parse reads a grpc-status header. false: it is no number.
func Parse(v []byte) (Code, bool) {
	n, err := strconv.ParseUint(string(v), 10, 32)
	return Code(n), err == nil
}

// FromHTTP is what an HTTP status stands for, where the answer has no status of gRPC
// (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
func FromHTTP(status int) Code {
	switch status {
	case 400:
		return Internal
	case 401:
		return Unauthenticated
	case 403:
		return PermissionDenied
	case 404:
		return Unimplemented
	case 429, 502, 503, 504:
		return Unavailable
	}
	return Unknown
}

// toHTTP follows https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto.
var toHTTP = [...]int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}

// HTTP is the HTTP status that stands for the code.
func (c Code) HTTP() int {
	if int(c) >= len(toHTTP) {
		return 500
	}
	return toHTTP[c]
}

// Is reports whether a content type is gRPC's.
func Is(contentType []byte) bool {
	const grpc = "application/grpc"
	return len(contentType) >= len(grpc) && string(contentType[:len(grpc)]) == grpc && (len(contentType) == len(grpc) || contentType[len(grpc)] == '+')
}

// AppendMessage writes a grpc-message: printable ASCII as it is, but for the percent sign.
func AppendMessage[T []byte | string](dst []byte, s T) []byte {
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c <= '~' && c != '%' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return dst
}
