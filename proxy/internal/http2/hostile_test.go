package http2

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// Answers to hostile input.
type answer struct {
	conn   Code // of GOAWAY, with connErr
	stream Code // of RST_STREAM, with streamErr
	kind   int
}

const (
	accepted = iota
	streamErrWanted
	connErrWanted
)

func ok() answer             { return answer{kind: accepted} }
func onStream(c Code) answer { return answer{stream: c, kind: streamErrWanted} }
func onConn(c Code) answer   { return answer{conn: c, kind: connErrWanted} }

func rep(s string, n int) string { return strings.Repeat(s, n) }

// many concatenates f(1), f(3), f(5)... for n streams.
func many(n int, f func(id uint32) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(f(uint32(2*i + 1)))
	}
	return b.String()
}

// hostile is what a client sends behind its preface and settings, and what a server must answer. The number is the
// section of RFC 9113, where no other is named.
var hostile = []struct {
	section, name, input string
	want                 answer
}{
	// 4: frames.
	{"4.1", "unknown frame type", frameOf(0xab, 0xff, 7, "whatever") + headers(1, es|eh, get()), ok()},
	{"4.1", "unknown flags", frameOf(framePing, 0xf0, 0, "12345678"), ok()},
	{"4.1", "reserved bit of the stream identifier", headers(1|1<<31, es|eh, get()), ok()},
	{"4.2", "DATA beyond the frame size", headers(1, eh, post()) + rawFrame(16385, frameData, 0, 1, ""), onConn(FrameSizeError)},
	{"4.2", "HEADERS beyond the frame size", rawFrame(16385, frameHeaders, eh, 1, ""), onConn(FrameSizeError)},
	{"4.2", "unknown frame beyond the frame size", rawFrame(1<<24-1, 0xcc, 0, 0, ""), onConn(FrameSizeError)},
	{"4.3", "block that cannot be decoded", headers(1, es|eh, "\xff\xff\xff\xff\xff\xff"), onConn(CompressionError)},
	{"4.3", "block with an index beyond the table", headers(1, es|eh, "\xbe"), onConn(CompressionError)},
	{"4.3", "table larger than the setting", headers(1, es|eh, "\x3f\xe1\xff\x03"+get()), onConn(CompressionError)},
	{"4.3", "DATA inside a header block", headers(1, es, get()) + data(1, 0, "x"), onConn(ProtocolError)},
	{"4.3", "HEADERS of another stream inside a header block", headers(1, es, get()) + headers(3, es|eh, get()), onConn(ProtocolError)},
	{"4.3", "unknown frame inside a header block", headers(1, es, get()) + frameOf(0xab, 0, 0, ""), onConn(ProtocolError)},

	// 5.1: states.
	{"5.1", "DATA on an idle stream", data(1, 0, "x"), onConn(ProtocolError)},
	{"5.1", "RST_STREAM on an idle stream", frameOf(frameRSTStream, 0, 1, u32(8)), onConn(ProtocolError)},
	{"5.1", "WINDOW_UPDATE on an idle stream", frameOf(frameWindowUpdate, 0, 1, u32(1)), onConn(ProtocolError)},
	{"5.1", "DATA behind the end", headers(1, es|eh, get()) + data(1, 0, "x"), onStream(StreamClosed)},
	{"5.1", "HEADERS behind the end", headers(1, es|eh, get()) + headers(1, es|eh, get()), onStream(StreamClosed)},
	{"5.1", "DATA behind RST_STREAM", headers(1, eh, post()) + frameOf(frameRSTStream, 0, 1, u32(8)) + data(1, 0, "x"), onStream(StreamClosed)},
	{"5.1", "HEADERS behind RST_STREAM", headers(1, eh, post()) + frameOf(frameRSTStream, 0, 1, u32(8)) + headers(1, es|eh, get()), onConn(StreamClosed)},
	{"5.1", "WINDOW_UPDATE behind RST_STREAM", headers(1, eh, post()) + frameOf(frameRSTStream, 0, 1, u32(8)) + frameOf(frameWindowUpdate, 0, 1, u32(1)), ok()},
	{"5.1", "PRIORITY on an idle stream", frameOf(framePriority, 0, 9, u32(3)+"\x10"), ok()},
	{"5.1.1", "even stream identifier", headers(2, es|eh, get()), onConn(ProtocolError)},
	{"5.1.1", "stream identifier that goes down", headers(5, es|eh, get()) + headers(3, es|eh, get()), onConn(StreamClosed)},
	{"5.1.2", "more streams than allowed", many(5, func(id uint32) string { return headers(id, eh, post()) }), onStream(RefusedStream)},
	{"RFC 7540 5.3.1", "HEADERS that depends on itself", headers(1, es|eh|flagPriority, u32(1)+"\x10"+get()), onStream(ProtocolError)},
	{"RFC 7540 5.3.1", "PRIORITY that depends on itself", headers(1, eh, post()) + frameOf(framePriority, 0, 1, u32(1)+"\x10"), onStream(ProtocolError)},

	// 6.1: DATA.
	{"6.1", "DATA on stream 0", data(0, 0, "x"), onConn(ProtocolError)},
	{"6.1", "padding as long as the frame", headers(1, eh, post()) + frameOf(frameData, flagPadded, 1, "\x05abcd"), onConn(ProtocolError)},
	{"6.1", "padded without a length", headers(1, eh, post()) + frameOf(frameData, flagPadded, 1, ""), onConn(FrameSizeError)},
	{"6.1", "padding that fits", headers(1, eh, post()) + frameOf(frameData, flagPadded|es, 1, "\x02ab\x00\x00"), ok()},

	// 6.2: HEADERS.
	{"6.2", "HEADERS on stream 0", headers(0, es|eh, get()), onConn(ProtocolError)},
	{"6.2", "padding longer than the block", headers(1, es|eh|flagPadded, "\x09abc"), onConn(ProtocolError)},
	{"6.2", "priority cut off", headers(1, es|eh|flagPriority, "abc"), onConn(FrameSizeError)},
	{"6.2", "priority eaten by padding", headers(1, es|eh|flagPriority|flagPadded, "\x03abcdef"), onConn(ProtocolError)},

	// 6.3: PRIORITY.
	{"6.3", "PRIORITY on stream 0", frameOf(framePriority, 0, 0, u32(3)+"\x10"), onConn(ProtocolError)},
	{"6.3", "PRIORITY of 4 bytes, on a stream that is over", headers(1, eh, post()) + frameOf(frameRSTStream, 0, 1, u32(8)) + frameOf(framePriority, 0, 1, u32(3)), onStream(FrameSizeError)},
	{"6.3", "PRIORITY of 4 bytes", headers(1, eh, post()) + frameOf(framePriority, 0, 1, u32(3)), onStream(FrameSizeError)},

	// 6.4: RST_STREAM.
	{"6.4", "RST_STREAM on stream 0", frameOf(frameRSTStream, 0, 0, u32(8)), onConn(ProtocolError)},
	{"6.4", "RST_STREAM of 3 bytes", headers(1, eh, post()) + frameOf(frameRSTStream, 0, 1, "abc"), onConn(FrameSizeError)},

	// 6.5: SETTINGS.
	{"6.5", "SETTINGS on a stream", frameOf(frameSettings, 0, 1, ""), onConn(ProtocolError)},
	{"6.5", "acknowledgement with a payload", frameOf(frameSettings, flagAck, 0, "123456"), onConn(FrameSizeError)},
	{"6.5", "SETTINGS of 5 bytes", frameOf(frameSettings, 0, 0, "12345"), onConn(FrameSizeError)},
	{"6.5.2", "ENABLE_PUSH of 2", settings(settingEnablePush, 2), onConn(ProtocolError)},
	{"6.5.2", "INITIAL_WINDOW_SIZE of 2^31", settings(settingInitialWindowSize, 1<<31), onConn(FlowControlError)},
	{"6.5.2", "MAX_FRAME_SIZE of 16383", settings(settingMaxFrameSize, 16383), onConn(ProtocolError)},
	{"6.5.2", "MAX_FRAME_SIZE of 2^24", settings(settingMaxFrameSize, 1<<24), onConn(ProtocolError)},
	{"6.5.2", "unknown setting", settings(0xff00, 1), ok()},
	{"RFC 8441 3", "ENABLE_CONNECT_PROTOCOL of 2", settings(settingEnableConnect, 2), onConn(ProtocolError)},
	{"RFC 8441 3", "ENABLE_CONNECT_PROTOCOL taken back", settings(settingEnableConnect, 1) + settings(settingEnableConnect, 0), onConn(ProtocolError)},

	// 6.6 to 6.10.
	{"6.6", "PUSH_PROMISE of a client", frameOf(framePushPromise, eh, 1, u32(2)+get()), onConn(ProtocolError)},
	{"6.7", "PING on a stream", frameOf(framePing, 0, 1, "12345678"), onConn(ProtocolError)},
	{"6.7", "PING of 7 bytes", frameOf(framePing, 0, 0, "1234567"), onConn(FrameSizeError)},
	{"6.7", "unasked-for PING acknowledgement", frameOf(framePing, flagAck, 0, "12345678"), ok()},
	{"6.8", "GOAWAY on a stream", frameOf(frameGoAway, 0, 1, u32(0)+u32(0)), onConn(ProtocolError)},
	{"6.8", "GOAWAY of 7 bytes", frameOf(frameGoAway, 0, 0, "1234567"), onConn(FrameSizeError)},
	{"6.8", "GOAWAY that goes up", frameOf(frameGoAway, 0, 0, u32(1)+u32(0)) + frameOf(frameGoAway, 0, 0, u32(3)+u32(0)), onConn(ProtocolError)},
	{"6.9", "WINDOW_UPDATE of 3 bytes", frameOf(frameWindowUpdate, 0, 0, "abc"), onConn(FrameSizeError)},
	{"6.9", "WINDOW_UPDATE of the connection by 0", frameOf(frameWindowUpdate, 0, 0, u32(0)), onConn(ProtocolError)},
	{"6.9", "WINDOW_UPDATE of a stream by 0", headers(1, eh, post()) + frameOf(frameWindowUpdate, 0, 1, u32(0)), onStream(ProtocolError)},
	{"6.9.1", "window of the connection beyond 2^31-1", frameOf(frameWindowUpdate, 0, 0, u32(maxWindow)), onConn(FlowControlError)},
	{"6.9.1", "window of a stream beyond 2^31-1", headers(1, eh, post()) + frameOf(frameWindowUpdate, 0, 1, u32(maxWindow)), onStream(FlowControlError)},
	{"6.9.2", "window of a stream beyond 2^31-1 by SETTINGS", headers(1, eh, post()) + frameOf(frameWindowUpdate, 0, 1, u32(maxWindow-65535)) + settings(settingInitialWindowSize, 65536), onConn(FlowControlError)},
	{"6.9.1", "DATA beyond the stream's window", headers(1, eh, post()) + rep(data(1, 0, rep("x", 16384)), 5), onStream(FlowControlError)},
	{"6.9.1", "DATA beyond the connection's window", many(4, func(id uint32) string { return headers(id, eh, post()) + rep(data(id, 0, rep("x", 16000)), 4) }), onConn(FlowControlError)},
	{"6.10", "CONTINUATION alone", frameOf(frameContinuation, eh, 1, get()), onConn(ProtocolError)},
	{"6.10", "CONTINUATION behind END_HEADERS", headers(1, es|eh, get()) + frameOf(frameContinuation, eh, 1, get()), onConn(ProtocolError)},
	{"6.10", "CONTINUATION of another stream", headers(1, es, get()) + frameOf(frameContinuation, eh, 3, get()), onConn(ProtocolError)},
	{"6.10", "CONTINUATION on stream 0", headers(1, es, get()) + frameOf(frameContinuation, eh, 0, get()), onConn(ProtocolError)},
	{"6.10", "block in three frames", headers(1, es, get()[:3]) + frameOf(frameContinuation, 0, 1, get()[3:9]) + frameOf(frameContinuation, eh, 1, get()[9:]), ok()},

	// 8: messages.
	{"8.1", "trailers that do not end the stream", headers(1, eh, post()) + headers(1, eh, block("x-sum 1")), onStream(ProtocolError)},
	{"8.1", "trailers with a pseudo-header", headers(1, eh, post()) + headers(1, es|eh, block(":path /")), onStream(ProtocolError)},
	{"RFC 9110 6.5.1", "trailers with content-length", headers(1, eh, post()) + headers(1, es|eh, block("content-length 0")), onStream(ProtocolError)},
	{"8.1.1", "less DATA than content-length", headers(1, eh, post("content-length 5")) + data(1, es, "four"), onStream(ProtocolError)},
	{"8.1.1", "more DATA than content-length", headers(1, eh, post("content-length 3")) + data(1, 0, "four"), onStream(ProtocolError)},
	{"8.1.1", "no DATA for content-length", headers(1, es|eh, post("content-length 3")), onStream(ProtocolError)},
	{"8.1.1", "less DATA than content-length, with trailers", headers(1, eh, post("content-length 5")) + data(1, 0, "four") + headers(1, es|eh, block("x-sum 1")), onStream(ProtocolError)},
	{"RFC 9110 8.6", "two content-lengths", headers(1, eh, post("content-length 4", "content-length 4")), onStream(ProtocolError)},
	{"RFC 9110 8.6", "content-length with a sign", headers(1, eh, post("content-length +4")), onStream(ProtocolError)},
	{"RFC 9110 8.6", "content-length of 64 bits", headers(1, eh, post("content-length 18446744073709551620")), onStream(ProtocolError)},
	{"8.2.1", "upper case in a name", headers(1, es|eh, get("X-Test a")), onStream(ProtocolError)},
	{"8.2.1", "space in a name", headers(1, es|eh, get()+"\x00\x03a b\x01c"), onStream(ProtocolError)},
	{"8.2.1", "colon in a name", headers(1, es|eh, get("a:b c")), onStream(ProtocolError)},
	{"8.2.1", "empty name", headers(1, es|eh, get()+"\x00\x00\x01c"), onStream(ProtocolError)},
	{"8.2.1", "LF in a value", headers(1, es|eh, get("x a\nb")), onStream(ProtocolError)},
	{"8.2.1", "CR in a value", headers(1, es|eh, get("x a\rb")), onStream(ProtocolError)},
	{"8.2.1", "NUL in a value", headers(1, es|eh, get("x a\x00b")), onStream(ProtocolError)},
	{"8.2.1", "space before a value", headers(1, es|eh, get()+"\x00\x01x\x02 c"), onStream(ProtocolError)},
	{"8.2.1", "space behind a value", headers(1, es|eh, get()+"\x00\x01x\x02c "), onStream(ProtocolError)},
	{"8.2.2", "connection", headers(1, es|eh, get("connection keep-alive")), onStream(ProtocolError)},
	{"8.2.2", "transfer-encoding", headers(1, eh, post("transfer-encoding chunked")), onStream(ProtocolError)},
	{"8.2.2", "upgrade", headers(1, es|eh, get("upgrade h2c")), onStream(ProtocolError)},
	{"8.2.2", "keep-alive", headers(1, es|eh, get("keep-alive 1")), onStream(ProtocolError)},
	{"8.2.2", "proxy-connection", headers(1, es|eh, get("proxy-connection keep-alive")), onStream(ProtocolError)},
	{"8.2.2", "te other than trailers", headers(1, es|eh, get("te gzip")), onStream(ProtocolError)},
	{"8.2.2", "te of two", headers(1, es|eh, get("te trailers, deflate")), onStream(ProtocolError)},
	{"8.2.2", "te trailers", headers(1, es|eh, get("te trailers")), ok()},
	{"8.3", "unknown pseudo-header", headers(1, es|eh, get(":test a")), onStream(ProtocolError)},
	{"8.3", ":status in a request", headers(1, es|eh, get(":status 200")), onStream(ProtocolError)},
	{"8.3", "pseudo-header behind a header", headers(1, es|eh, block(":method GET", ":scheme http", "x a", ":path /")), onStream(ProtocolError)},
	{"8.3", "two :path", headers(1, es|eh, get(":path /other")), onStream(ProtocolError)},
	{"8.3", "two :authority", headers(1, es|eh, get(":authority b.example")), onStream(ProtocolError)},
	{"8.3.1", "no :method", headers(1, es|eh, block(":scheme http", ":path /", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "no :scheme", headers(1, es|eh, block(":method GET", ":path /", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "no :path", headers(1, es|eh, block(":method GET", ":scheme http", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "empty :path", headers(1, es|eh, block(":method GET", ":scheme http", ":path ", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "relative :path", headers(1, es|eh, block(":method GET", ":scheme http", ":path a/b", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", ":path in absolute form", headers(1, es|eh, block(":method GET", ":scheme http", ":path http://b/", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "space in :path", headers(1, es|eh, block(":method GET", ":scheme http", ":path /a HTTP/1.1", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "asterisk with GET", headers(1, es|eh, block(":method GET", ":scheme http", ":path *", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "asterisk with OPTIONS", headers(1, es|eh, block(":method OPTIONS", ":scheme http", ":path *", ":authority a")), ok()},
	{"8.3.1", "space in :method", headers(1, es|eh, block(":method GET /x", ":scheme http", ":path /", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "space in :scheme", headers(1, es|eh, block(":method GET", ":scheme ht tp", ":path /", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "user in :authority", headers(1, es|eh, block(":method GET", ":scheme http", ":path /", ":authority u@a")), onStream(ProtocolError)},
	{"8.3.1", "path in :authority", headers(1, es|eh, block(":method GET", ":scheme http", ":path /", ":authority a/b")), onStream(ProtocolError)},
	{"8.3.1", "empty :authority", headers(1, es|eh, block(":method GET", ":scheme http", ":path /", ":authority ")), onStream(ProtocolError)},
	{"8.3.1", "neither :authority nor host", headers(1, es|eh, block(":method GET", ":scheme http", ":path /")), onStream(ProtocolError)},
	{"8.3.1", "host in place of :authority", headers(1, es|eh, block(":method GET", ":scheme http", ":path /", "host a")), ok()},
	{"8.3.1", "host that differs from :authority", headers(1, es|eh, get("host b.example")), onStream(ProtocolError)},
	{"8.3.1", "host that equals :authority", headers(1, es|eh, get("host A.example")), ok()},
	{"8.3.1", "two hosts", headers(1, es|eh, block(":method GET", ":scheme http", ":path /", "host a", "host a")), onStream(ProtocolError)},
	{"8.5", "CONNECT with :path", headers(1, eh, block(":method CONNECT", ":path /", ":authority a:1")), onStream(ProtocolError)},
	{"8.5", "CONNECT with :scheme", headers(1, eh, block(":method CONNECT", ":scheme http", ":authority a:1")), onStream(ProtocolError)},
	{"8.5", "CONNECT without :authority", headers(1, eh, block(":method CONNECT")), onStream(ProtocolError)},
	{"8.5", "CONNECT", headers(1, eh, block(":method CONNECT", ":authority a:1")), ok()},
	{"RFC 8441 4", ":protocol that was not offered", headers(1, eh, block(":method CONNECT", ":protocol websocket", ":scheme http", ":path /", ":authority a")), onStream(ProtocolError)},

	// What research on desynchronisation has found to work where HTTP/2 becomes HTTP/1 (H2.CL, H2.TE, requests in names and values).
	{"8.1.1", "DATA with content-length 0", headers(1, eh, post("content-length 0")) + data(1, es, "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"), onStream(ProtocolError)},
	{"8.1.1", "DATA of GET beyond content-length", headers(1, eh, get("content-length 1")) + data(1, es, "GET /"), onStream(ProtocolError)},
	{"RFC 9110 8.6", "content-length as a list", headers(1, eh, post("content-length 4, 4")), onStream(ProtocolError)},
	{"RFC 9110 8.6", "content-length without digits", headers(1, eh, post()+"\x00\x0econtent-length\x00"), onStream(ProtocolError)},
	{"RFC 9110 8.6", "content-length in hexadecimal", headers(1, eh, post("content-length 0x4")), onStream(ProtocolError)},
	{"8.2.2", "transfer-encoding of another kind", headers(1, eh, post("transfer-encoding identity")), onStream(ProtocolError)},
	{"8.2.2", "transfer-encoding beside content-length", headers(1, eh, post("content-length 4", "transfer-encoding chunked")), onStream(ProtocolError)},
	{"8.2.2", "te chunked", headers(1, es|eh, get("te chunked")), onStream(ProtocolError)},
	{"8.2.2", "te twice", headers(1, es|eh, get("te trailers", "te chunked")), onStream(ProtocolError)},
	{"8.2.2", "transfer-encoding in trailers", headers(1, eh, post()) + headers(1, es|eh, block("transfer-encoding chunked")), onStream(ProtocolError)},
	{"8.2.2", "connection in trailers", headers(1, eh, post()) + headers(1, es|eh, block("connection close")), onStream(ProtocolError)},
	{"RFC 9110 6.5.1", "host in trailers", headers(1, eh, post()) + headers(1, es|eh, block("host b.example")), onStream(ProtocolError)},
	{"RFC 9110 6.5.1", "authorization in trailers", headers(1, eh, post()) + headers(1, es|eh, block("authorization Basic eA==")), onStream(ProtocolError)},
	{"RFC 9110 6.5.1", "cookie in trailers", headers(1, eh, post()) + headers(1, es|eh, block("cookie a=b")), onStream(ProtocolError)},
	{"RFC 9110 6.5.1", "expect in trailers", headers(1, eh, post()) + headers(1, es|eh, block("expect 100-continue")), onStream(ProtocolError)},
	{"8.2.1", "a header in a value", headers(1, es|eh, get("x a\r\ntransfer-encoding: chunked")), onStream(ProtocolError)},
	{"8.2.1", "a request in a value", headers(1, es|eh, get("x a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\nx: y")), onStream(ProtocolError)},
	{"8.2.1", "a value that begins with CRLF", headers(1, es|eh, get()+"\x00\x01x\x03\r\na"), onStream(ProtocolError)},
	{"8.2.1", "a value that ends in CR", headers(1, es|eh, get("x a\r")), onStream(ProtocolError)},
	{"8.2.1", "CRLF in a cookie", headers(1, es|eh, get("cookie a=b", "cookie c=d\r\nx: y")), onStream(ProtocolError)},
	{"8.2.1", "CRLF in a Huffman code", headers(1, es|eh, get()+huffman("x", "a\r\ny: z")), onStream(ProtocolError)},
	{"8.2.1", "a header in a name", headers(1, es|eh, get()+"\x00\x1dx: y\r\ntransfer-encoding: chun\x01k"), onStream(ProtocolError)},
	{"8.2.1", "CR in a name", headers(1, es|eh, get()+"\x00\x02x\r\x01a"), onStream(ProtocolError)},
	{"8.2.1", "a name that ends in a colon", headers(1, es|eh, get()+"\x00\x12transfer-encoding:\x07chunked"), onStream(ProtocolError)},
	{"8.2.1", "a name that ends in a space", headers(1, es|eh, get()+"\x00\x12transfer-encoding \x07chunked"), onStream(ProtocolError)},
	{"8.2.1", "a name that ends in a tab", headers(1, es|eh, get()+"\x00\x12transfer-encoding\t\x07chunked"), onStream(ProtocolError)},
	{"8.2.1", "a byte above ASCII in a name", headers(1, es|eh, get()+"\x00\x12transfer-encoding\x8d\x07chunked"), onStream(ProtocolError)},
	{"8.2.1", "upper case in transfer-encoding", headers(1, es|eh, get("Transfer-Encoding chunked")), onStream(ProtocolError)},
	{"8.2.1", "a bad field out of the table", headers(1, es|eh, get()+"\x40\x01x\x04a\r\nb") + headers(3, es|eh, get()+"\xbe"), onStream(ProtocolError)},
	{"8.3.1", "CRLF in :path", headers(1, es|eh, block(":method GET", ":scheme http", ":path /a HTTP/1.1\r\nhost: b\r\nx: y", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "LF in :path", headers(1, es|eh, block(":method GET", ":scheme http", ":path /a\nb", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "tab in :path", headers(1, es|eh, block(":method GET", ":scheme http", ":path /a\tb", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "NUL in :path", headers(1, es|eh, block(":method GET", ":scheme http", ":path /a\x00", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "CRLF in :method", headers(1, es|eh, block(":method GET\r\nx:", ":scheme http", ":path /", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "empty :method", headers(1, es|eh, "\x02\x00"+block(":scheme http", ":path /", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "a target in :method", headers(1, es|eh, block(":method GET http://b/", ":scheme http", ":path /", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "CRLF in :authority", headers(1, es|eh, block(":method GET", ":scheme http", ":path /", ":authority a\r\nx: y")), onStream(ProtocolError)},
	{"8.3.1", "space in :authority", headers(1, es|eh, block(":method GET", ":scheme http", ":path /", ":authority a b")), onStream(ProtocolError)},
	{"8.3.1", "fragment in :authority", headers(1, es|eh, block(":method GET", ":scheme http", ":path /", ":authority a#b")), onStream(ProtocolError)},
	{"8.3.1", "backslash in :authority", headers(1, es|eh, block(":method GET", ":scheme http", ":path /", ":authority a\\b")), onStream(ProtocolError)},
	{"8.3.1", "a target in :scheme", headers(1, es|eh, block(":method GET", ":scheme http://b/x?", ":path /", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "CRLF in :scheme", headers(1, es|eh, block(":method GET", ":scheme http\r\nx: y", ":path /", ":authority a")), onStream(ProtocolError)},
	{"8.3.1", "host that differs by its port", headers(1, es|eh, get("host a.example:81")), onStream(ProtocolError)},
	{"8.3.1", "CRLF in host", headers(1, es|eh, block(":method GET", ":scheme http", ":path /", "host a\r\nx: y")), onStream(ProtocolError)},
	{"8.3.1", "two hosts, the first of which equals :authority", headers(1, es|eh, get("host a.example", "host b.example")), onStream(ProtocolError)},
	{"8.3", "pseudo-header that looks like a header", headers(1, es|eh, get(":transfer-encoding chunked")), onStream(ProtocolError)},
	{"RFC 8441 4", ":protocol with GET", headers(1, es|eh, get(":protocol websocket")), onStream(ProtocolError)},
	{"8.5", "CONNECT to a path", headers(1, eh, block(":method CONNECT", ":authority a:1/x")), onStream(ProtocolError)},

	// Abuse.
	{"10.5", "header list too large", headers(1, es|eh, get("x "+rep("a", 10000))), onStream(InternalError)},
	{"10.5", "too many headers", headers(1, es|eh, get(strings.Split(rep("x a,", 20)+"x a", ",")...)), onStream(InternalError)},
	{"10.5", "header block without an end", headers(1, es, rep("\x00", 16384)) + rep(frameOf(frameContinuation, 0, 1, rep("\x00", 16384)), 4), onConn(EnhanceYourCalm)},
	{"10.5", "CONTINUATION flood", headers(1, es, get()) + rep(frameOf(frameContinuation, 0, 1, "\x82"), 300), onConn(EnhanceYourCalm)},
	{"10.5", "empty CONTINUATION flood", headers(1, es, get()) + rep(frameOf(frameContinuation, 0, 1, ""), 3), onConn(EnhanceYourCalm)},
	{"10.5", "empty DATA flood", headers(1, eh, post()) + rep(data(1, 0, ""), 3), onConn(EnhanceYourCalm)},
	{"10.5", "PING flood", rep(frameOf(framePing, 0, 0, "12345678"), 1001), onConn(EnhanceYourCalm)},
	{"10.5", "SETTINGS flood", rep(settings(), 1001), onConn(EnhanceYourCalm)},
	{"10.5", "flood of settings in one frame", settings(make([]uint32, 2*33)...), onConn(EnhanceYourCalm)},
	{"10.5", "PRIORITY flood", rep(frameOf(framePriority, 0, 3, u32(0)+"\x00"), 101), onConn(EnhanceYourCalm)},
	{"10.5", "WINDOW_UPDATE flood", rep(frameOf(frameWindowUpdate, 0, 0, u32(1)), 6), onConn(EnhanceYourCalm)},
	{"10.5", "rapid reset", many(250, func(id uint32) string { return headers(id, es|eh, get()) + frameOf(frameRSTStream, 0, id, u32(8)) }), onConn(EnhanceYourCalm)},
	{"10.5", "reset by own fault", many(250, func(id uint32) string { return headers(id, eh, post()) + frameOf(frameWindowUpdate, 0, id, u32(0)) }), onConn(EnhanceYourCalm)},
}

// huffman is a field that is not indexed, both parts in the code.
func huffman(name, value string) string {
	b := []byte{0}
	for _, s := range []string{name, value} {
		b = append(b, 0x80|byte(hpack.HuffmanEncodeLength(s)))
		b = hpack.AppendHuffmanString(b, s)
	}
	return string(b)
}

// hostileConfig is small enough for every limit to be reached in one row.
func hostileConfig() *Config {
	return &Config{Server: true, StreamErrors: true, MaxConcurrentStreams: 4, StreamWindow: 65535, ConnWindow: 200000, MaxHeaderBytes: 8000, MaxHeaders: 20}
}

func TestHostile(t *testing.T) {
	if len(hostile) < 150 {
		t.Fatalf("only %d rows", len(hostile))
	}
	for _, tt := range hostile {
		// In one piece, in bytes, and in pieces of 7: no answer may depend on how the bytes arrive.
		for _, size := range []int{len(tt.input), 1, 7} {
			t.Run(fmt.Sprintf("%s %s/%d", tt.section, tt.name, size), func(t *testing.T) {
				c, o := start(t, hostileConfig())
				// The owner answers nothing, and keeps what it gets.
				o.onData = func(s *Stream, _ []byte, _ bool) { s.Pause() }
				var err *ConnError
				for p := []byte(tt.input); len(p) > 0 && err == nil; {
					n := min(size, len(p))
					err = c.Feed(p[:n], 2)
					p = p[n:]
				}
				sent := newReader().read(t, pull(c))
				judge(t, tt.want, err, sent)
			})
		}
	}
}

func judge(t *testing.T, want answer, err *ConnError, sent string) {
	t.Helper()
	reset, away := strings.Contains(sent, "RST_STREAM"), strings.Contains(sent, "GOAWAY")
	switch want.kind {
	case accepted:
		if err != nil || reset || away {
			t.Errorf("refused: %v\n%s", err, sent)
		}
	case streamErrWanted:
		if err != nil || away || !strings.Contains(sent, "RST_STREAM") || !strings.Contains(sent, " "+want.stream.String()+"\n") {
			t.Errorf("want RST_STREAM %v, got %v\n%s", want.stream, err, sent)
		}
	case connErrWanted:
		if err == nil || err.Code != want.conn || !strings.Contains(sent, want.conn.String()+"\n") || !away {
			t.Errorf("want GOAWAY %v, got %v\n%s", want.conn, err, sent)
		}
	}
}

// TestMalformedEndsConnection: without StreamErrors, which is the default, a malformed message ends the connection as well.
func TestMalformedEndsConnection(t *testing.T) {
	c, o := start(t, &Config{Server: true})
	err := c.Feed([]byte(headers(1, es|eh, get("X-Test a"))), 2)
	if err == nil || err.Code != ProtocolError || err.Details != "http2.invalid.header.field" {
		t.Errorf("got %v", err)
	}
	if o.stats[StatMessagingError] != 1 {
		t.Errorf("rx_messaging_error is %d, want 1", o.stats[StatMessagingError])
	}
	// What is wrong with the frames, and not with the message, is the stream's matter.
	c, _ = start(t, &Config{Server: true})
	if err := c.Feed([]byte(headers(1, es|eh, get())+data(1, 0, "x")), 2); err != nil {
		t.Errorf("DATA behind the end: %v", err)
	}
}

// TestBadFieldOutOfTheTable: a field that was refused stays in the compression's table, which both ends
// must keep alike, and is refused each time that it is named.
func TestBadFieldOutOfTheTable(t *testing.T) {
	c, _ := start(t, hostileConfig())
	bad := headers(1, es|eh, get()+"\x40\x01x\x04a\r\nb")
	if err := c.Feed([]byte(bad+headers(3, es|eh, get()+"\xbe")+headers(5, es|eh, get())), 2); err != nil {
		t.Fatal(err)
	}
	sent := newReader().read(t, pull(c))
	if strings.Count(sent, "RST_STREAM") != 2 || strings.Contains(sent, "RST_STREAM 5") {
		t.Errorf("streams 1 and 3 are to be reset:\n%s", sent)
	}
}

// TestPreface: what does not begin as it must is no HTTP/2.
func TestPreface(t *testing.T) {
	for _, tt := range []struct {
		name, input string
		want        *ConnError
	}{
		{"HTTP/1.1", "GET / HTTP/1.1\r\n\r\n", ErrPreface},
		{"wrong at the end", Preface[:20] + "SM\r\r", ErrPreface},
		{"no SETTINGS", Preface + headers(1, es|eh, get()), ErrPreface},
		{"acknowledgement first", Preface + ack(), ErrPreface},
		{"in order", Preface + settings(), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := &owner{}
			var c Conn
			c.Init(&Config{Server: true}, o, &Pool{}, nil, 1)
			var err *ConnError
			for i := 0; i < len(tt.input) && err == nil; i++ {
				err = c.Feed([]byte(tt.input[i:i+1]), 1)
			}
			if err != tt.want {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestFloodWithDataWaiting: a connection that has failed while streams wait for their turn has nothing to send behind its
// GOAWAY, and says so: its owner writes as long as something waits.
func TestFloodWithDataWaiting(t *testing.T) {
	c, o := start(t, &Config{Server: true, MaxOutboundFrames: 50, SendLimit: 1 << 20})
	var waits *Stream
	o.onHead = func(s *Stream, _ bool) {
		if waits == nil {
			waits = s
			c.SendHeaders(s, mapOf(":status 200"), false)
			c.SendData(s, make([]byte, directRoom+2*quantum), false) // more than goes straight into the queue
		}
	}
	in := settings(settingInitialWindowSize, 1<<20) + frameOf(frameWindowUpdate, 0, 0, u32(1<<20))
	for id := range uint32(100) {
		in += headers(1+2*id, es|eh, get())
	}
	if err := c.Feed([]byte(in), 1); err != nil {
		t.Fatal(err)
	}
	for id := range uint32(99) { // out of Feed, as answers of hosts are
		c.SendHeaders(c.find(3+2*id), mapOf(":status 204"), true)
	}
	if c.Failure() != ErrOutboundFlood {
		t.Fatalf("failure %v", c.Failure())
	}
	pull(c)
	if c.Waiting() {
		t.Error("more is said to wait than Pull gives")
	}
	if waits.pending.Len() == 0 {
		t.Error("no data was left to wait")
	}
}
