package http1

import (
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// Head says how a head is written besides its headers.
type Head struct {
	Empty   bool // adds content-length: 0
	Chunked bool // adds transfer-encoding: chunked
	Close   bool // adds connection: close
	Upgrade bool // adds connection: upgrade, unless the block has it (it has the upgrade header)
	Proper  bool // header names as Proper-Case-Words
	Minor10 bool // response to an HTTP/1.0 client, in its version: adds connection: keep-alive unless Close
	Status  int  // responses
}

// headRoom is more than what is written besides headers and their separators.
const headRoom = 128

// AppendRequest writes a request's head behind what out holds. It returns how many bytes that are, and how many of them the
// lines of the fields.
func AppendRequest(out *iobuf.Buffer, h *header.Map, o *Head) (all, fields int) {
	p := out.Reserve(h.Size() + 4*h.Len() + headRoom)[:0]
	method, path := h.Value(header.Method), h.Value(header.Path)
	p = append(p, method...)
	p = append(p, ' ')
	if len(path) == 0 { // CONNECT
		path = h.Value(header.Authority)
	}
	p = append(p, path...)
	p = append(p, " HTTP/1.1\r\n"...)
	first := len(p)
	p = append(p, "host: "...)
	p = append(p, h.Value(header.Authority)...)
	p = append(p, '\r', '\n')
	p = appendFields(p, h, o)
	if sp := h.Spelling(); sp != nil || o.Proper {
		recase(p[first:], sp)
	}
	out.Commit(len(p))
	return len(p), len(p) - first - len("\r\n")
}

// AppendResponse writes a response's head behind what out holds, and returns what AppendRequest does.
func AppendResponse(out *iobuf.Buffer, h *header.Map, o *Head) (all, fields int) {
	sp := h.Spelling()
	var reason []byte // that is forwarded
	if sp != nil {
		reason = sp.Reason
	}
	p := out.Reserve(h.Size() + 4*h.Len() + headRoom + len(reason))[:0]
	if o.Status == 200 && len(reason) == 0 && !o.Minor10 {
		p = append(p, "HTTP/1.1 200 OK\r\n"...)
	} else {
		p = append(p, "HTTP/1.1 "...)
		if o.Minor10 {
			p[len(p)-2] = '0'
		}
		p = strconv.AppendInt(p, int64(o.Status), 10)
		p = append(p, ' ')
		if len(reason) > 0 {
			p = append(p, reason...)
		} else {
			p = append(p, Reason(o.Status)...)
		}
		p = append(p, '\r', '\n')
	}
	first := len(p)
	p = appendFields(p, h, o)
	if sp != nil || o.Proper {
		recase(p[first:], sp)
	}
	out.Commit(len(p))
	return len(p), len(p) - first - len("\r\n")
}

func appendFields(p []byte, h *header.Map, o *Head) []byte {
	for i := range h.Len() {
		id, name, value := h.At(i)
		if id.Pseudo() {
			continue
		}
		p = append(p, name...)
		p = append(p, ':', ' ')
		p = append(p, value...)
		p = append(p, '\r', '\n')
	}
	if o.Empty {
		p = append(p, "content-length: 0\r\n"...)
	}
	if o.Chunked {
		p = append(p, "transfer-encoding: chunked\r\n"...)
	}
	switch {
	case o.Upgrade && h.Has(header.Connection):
	case o.Upgrade:
		p = append(p, "connection: upgrade\r\n"...)
	case o.Close:
		p = append(p, "connection: close\r\n"...)
	case o.Minor10:
		p = append(p, "connection: keep-alive\r\n"...)
	}
	return append(p, '\r', '\n')
}

// AppendChunk writes one chunk, and returns its length; empty data writes nothing, because an empty chunk is the end.
func AppendChunk(out *iobuf.Buffer, data []byte) int {
	if len(data) == 0 {
		return 0
	}
	p := out.Reserve(len(data) + 20)[:0]
	p = strconv.AppendUint(p, uint64(len(data)), 16)
	p = append(p, '\r', '\n')
	p = append(p, data...)
	p = append(p, '\r', '\n')
	out.Commit(len(p))
	return len(p)
}

// AppendLastChunk ends a chunked body, and returns what AppendRequest does. trailers may be nil.
func AppendLastChunk(out *iobuf.Buffer, trailers *header.Map) (all, fields int) {
	if trailers == nil || trailers.Len() == 0 {
		out.AppendString(lastChunk)
		return len(lastChunk), 0
	}
	p := out.Reserve(trailers.Size() + 4*trailers.Len() + headRoom)[:0]
	p = append(p, "0\r\n"...)
	p = appendFields(p, trailers, &Head{})
	out.Commit(len(p))
	return len(p), len(p) - len(lastChunk)
}

const lastChunk = "0\r\n\r\n"

// Continue is the interim response to Expect: 100-continue.
const Continue = "HTTP/1.1 100 Continue\r\n\r\n"

// Reason is the standard phrase of a status; "Unknown" for others, as Envoy writes.
func Reason(status int) string {
	switch status {
	case 100:
		return "Continue"
	case 101:
		return "Switching Protocols"
	case 102:
		return "Processing"
	case 103:
		return "Early Hints"
	case 200:
		return "OK"
	case 201:
		return "Created"
	case 202:
		return "Accepted"
	case 203:
		return "Non-Authoritative Information"
	case 204:
		return "No Content"
	case 205:
		return "Reset Content"
	case 206:
		return "Partial Content"
	case 207:
		return "Multi-Status"
	case 208:
		return "Already Reported"
	case 226:
		return "IM Used"
	case 300:
		return "Multiple Choices"
	case 301:
		return "Moved Permanently"
	case 302:
		return "Found"
	case 303:
		return "See Other"
	case 304:
		return "Not Modified"
	case 305:
		return "Use Proxy"
	case 307:
		return "Temporary Redirect"
	case 308:
		return "Permanent Redirect"
	}
	return errorReason(status)
}

func errorReason(status int) string {
	switch status {
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 402:
		return "Payment Required"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 406:
		return "Not Acceptable"
	case 407:
		return "Proxy Authentication Required"
	case 408:
		return "Request Timeout"
	case 409:
		return "Conflict"
	case 410:
		return "Gone"
	case 411:
		return "Length Required"
	case 412:
		return "Precondition Failed"
	case 413:
		return "Payload Too Large"
	case 414:
		return "URI Too Long"
	case 415:
		return "Unsupported Media Type"
	case 416:
		return "Range Not Satisfiable"
	case 417:
		return "Expectation Failed"
	case 421:
		return "Misdirected Request"
	case 422:
		return "Unprocessable Entity"
	case 423:
		return "Locked"
	case 424:
		return "Failed Dependency"
	case 426:
		return "Upgrade Required"
	case 428:
		return "Precondition Required"
	case 429:
		return "Too Many Requests"
	case 431:
		return "Request Header Fields Too Large"
	case 500:
		return "Internal Server Error"
	case 501:
		return "Not Implemented"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 505:
		return "HTTP Version Not Supported"
	case 506:
		return "Variant Also Negotiates"
	case 507:
		return "Insufficient Storage"
	case 508:
		return "Loop Detected"
	case 510:
		return "Not Extended"
	case 511:
		return "Network Authentication Required"
	case 599:
		return "Last Unassigned Server Error Code"
	}
	return "Unknown"
}
