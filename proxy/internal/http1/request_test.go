package http1

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// parseAll parses a request and its body, feeding step bytes at a time. It returns the head
// as text, the body, and what is left.
func parseAll(in string, step int, l *Limits) (head, body, rest string, m Message, err error) {
	return readAll(in, step, func(b []byte, h *header.Map, m *Message, scanned *int) (int, *Error) {
		return ParseRequest(b, h, m, l, scanned)
	})
}

// parseAllOfResponse is parseAll for the answer to a HEAD request, a CONNECT or another.
func parseAllOfResponse(in string, step int, head, connect bool) (fields, body, rest string, m Message, err error) {
	return readAll(in, step, func(b []byte, h *header.Map, m *Message, scanned *int) (int, *Error) {
		return ParseResponse(b, h, m, &Limits{}, head, connect, scanned)
	})
}

func readAll(in string, step int, parse func([]byte, *header.Map, *Message, *int) (int, *Error)) (head, body, rest string, m Message, err error) {
	var h header.Map
	buf := make([]byte, 0, len(in))
	scanned, n := 0, 0
	for n == 0 {
		if len(in) == 0 {
			return "", "", string(buf), m, errIncomplete
		}
		k := min(step, len(in))
		buf = append(buf, in[:k]...)
		in = in[k:]
		var e *Error
		n, e = parse(buf, &h, &m, &scanned)
		if e != nil {
			return "", "", "", m, e
		}
	}
	var sb strings.Builder
	for i := range h.Len() {
		_, k, v := h.At(i)
		fmt.Fprintf(&sb, "%s: %s\n", k, v)
	}
	var b Body
	b.Start(&m)
	pending := append([]byte(nil), buf[n:]...)
	var out []byte
	for !b.Done() && m.Framing != Tunnel {
		d, k, e := b.Next(pending)
		if e != nil {
			return sb.String(), string(out), "", m, e
		}
		out = append(out, d...)
		pending = pending[k:]
		if b.Done() || k > 0 {
			continue
		}
		if len(in) == 0 && b.EndsWithClose() {
			break
		}
		if len(in) == 0 {
			return sb.String(), string(out), "", m, errIncomplete
		}
		k = min(step, len(in))
		pending = append(pending, in[:k]...)
		in = in[k:]
	}
	var t header.Map
	ok, e := b.Trailers(&t)
	if e != nil {
		return sb.String(), string(out), "", m, e
	}
	if ok {
		for i := range t.Len() {
			_, k, v := t.At(i)
			fmt.Fprintf(&sb, "[%s: %s]\n", k, v)
		}
	}
	return sb.String(), string(out), string(pending) + in, m, nil
}

var errIncomplete = errors.New("incomplete")

const get = "GET / HTTP/1.1\r\n"

// hostile inputs and what each must be answered with.
var hostile = []struct {
	name, in string
	want     error
}{
	// Smuggling pairs: CL+TE, TE+CL, TE.TE.
	{"cl and te", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", ErrLengthAndChunked},
	{"te and cl", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n", ErrLengthAndChunked},
	{"te twice", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", ErrTransferEncoding},
	{"te identity", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n", ErrTransferEncoding},
	{"te gzip, chunked", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n", ErrTransferEncoding},
	{"te chunked, identity", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n", ErrTransferEncoding},
	{"te xchunked", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n", ErrTransferEncoding},
	{"te empty", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n\r\n", ErrTransferEncoding},
	{"te with vertical tab", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked\r\n\r\n", ErrValue},
	{"te quoted", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \"chunked\"\r\n\r\n", ErrTransferEncoding},
	{"te space before colon", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n", ErrName},
	{"te on 1.0", "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", ErrTEOnHTTP10},
	{"cl twice the same", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc", ErrLengthDuplicate},
	{"cl twice", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc", ErrLengthDuplicate},
	{"cl list", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 3\r\n\r\nabc", ErrLength},
	{"cl plus", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc", ErrLength},
	{"cl minus", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", ErrLength},
	{"cl hex", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x3\r\n\r\nabc", ErrLength},
	{"cl empty", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \r\n\r\n", ErrLength},
	{"cl space inside", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1 2\r\n\r\n", ErrLength},
	{"cl fraction", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3.0\r\n\r\n", ErrLength},
	{"cl 2^63", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9223372036854775808\r\n\r\n", ErrLength},
	{"cl 2^64+3", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551619\r\n\r\n", ErrLength},
	{"cl underscore name", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length\x00: 3\r\n\r\n", ErrName},
	{"connect with cl", "CONNECT a:1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", ErrTEOnConnect},
	{"connect with te", "CONNECT a:1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", ErrTEOnConnect},
	// Lines.
	{"bare lf in request line", "GET / HTTP/1.1\nhost: a\r\n\r\n", ErrBareLF},
	{"bare lf after header", get + "host: a\nx: y\r\n\r\n", ErrBareLF},
	{"bare lf at the end", get + "host: a\r\n\n", ErrBareLF},
	{"bare cr in value", get + "host: a\r\nx: a\rb\r\n\r\n", ErrBareCR},
	{"bare cr in name", get + "host: a\r\nx\r: b\r\n\r\n", ErrName},
	{"cr cr lf", get + "host: a\r\nx: b\r\r\n\r\n", ErrBareCR},
	{"empty line with cr", get + "host: a\r\n\rx: y\r\n\r\n", ErrBareCR},
	{"obs-fold", get + "host: a\r\nx: y\r\n z\r\n\r\n", ErrFold},
	{"obs-fold tab", get + "host: a\r\nx: y\r\n\tz\r\n\r\n", ErrFold},
	{"space before first header", get + " host: a\r\n\r\n", ErrFold},
	{"space before colon", get + "host : a\r\n\r\n", ErrName},
	{"tab before colon", get + "host\t: a\r\n\r\n", ErrName},
	{"no colon", get + "host a\r\n\r\n", ErrName},
	{"empty name", get + ": a\r\n\r\n", ErrName},
	{"name with space", get + "x y: a\r\n\r\n", ErrName},
	{"name with at", get + "x@y: a\r\n\r\n", ErrName},
	{"name with high byte", get + "x\xff: a\r\n\r\n", ErrName},
	{"name with slash", get + "x/y: a\r\n\r\n", ErrName},
	{"pseudo name", get + "host: a\r\n:path: /x\r\n\r\n", ErrName},
	{"nul in value", get + "host: a\r\nx: a\x00b\r\n\r\n", ErrValue},
	{"bell in value", get + "host: a\r\nx: a\x07b\r\n\r\n", ErrValue},
	{"del in value", get + "host: a\r\nx: aaaaaaa\x7fb\r\n\r\n", ErrValue},
	{"escape late in value", get + "host: a\r\nx: aaaaaaaaaaaaaaaaaaaa\x1b\r\n\r\n", ErrValue},
	// Request line.
	{"no target", "GET HTTP/1.1\r\nhost: a\r\n\r\n", ErrVersion},
	{"two spaces", "GET  / HTTP/1.1\r\nhost: a\r\n\r\n", ErrTargetByte},
	{"space in target", "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", ErrTargetByte},
	{"tab as separator", "GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n", ErrMethod},
	{"trailing space", "GET / HTTP/1.1 \r\nhost: a\r\n\r\n", ErrVersion},
	{"leading space", " GET / HTTP/1.1\r\nhost: a\r\n\r\n", ErrMethod},
	{"control in target", "GET /\x01 HTTP/1.1\r\nhost: a\r\n\r\n", ErrTargetControl},
	{"del in target", "GET /\x7f HTTP/1.1\r\nhost: a\r\n\r\n", ErrTargetControl},
	{"method with colon", "GE:T / HTTP/1.1\r\nhost: a\r\n\r\n", ErrMethod},
	{"empty method", " / HTTP/1.1\r\nhost: a\r\n\r\n", ErrMethod},
	{"version 1.2", "GET / HTTP/1.2\r\nhost: a\r\n\r\n", ErrVersion},
	{"version 2.0", "GET / HTTP/2.0\r\nhost: a\r\n\r\n", ErrVersion},
	{"version 11.1", "GET / HTTP/11.1\r\nhost: a\r\n\r\n", ErrVersion},
	{"version lower case", "GET / http/1.1\r\nhost: a\r\n\r\n", ErrVersion},
	{"version 0.9", "GET /\r\n\r\n", ErrVersion},
	{"h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ErrVersion},
	{"tls client hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ErrMethod},
	{"empty lines for ever", "\r\n\r\n\r\n\r\n\r\n\r\n", ErrMethod},
	{"asterisk with GET", "GET * HTTP/1.1\r\nhost: a\r\n\r\n", ErrTarget},
	{"authority form with GET", "GET a:80 HTTP/1.1\r\nhost: a\r\n\r\n", ErrTargetByte},
	{"ftp target", "GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", ErrScheme},
	{"absolute without host", "GET http:///x HTTP/1.1\r\nhost: a\r\n\r\n", ErrTarget},
	{"absolute with userinfo", "GET http://u@a/x HTTP/1.1\r\nhost: a\r\n\r\n", ErrTarget},
	{"connect without port", "CONNECT a HTTP/1.1\r\nhost: a\r\n\r\n", ErrTarget},
	{"connect with path", "CONNECT /a HTTP/1.1\r\nhost: a\r\n\r\n", ErrTarget},
	// Host.
	{"no host", get + "\r\n", ErrHostMissing},
	{"byte above ASCII in target", "GET /\xc3\xa4 HTTP/1.1\r\nhost: a\r\n\r\n", ErrTargetByte},
	{"host twice", get + "host: a\r\nhost: a\r\n\r\n", ErrHostDuplicate},
	{"host twice, absolute", "GET http://a/ HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", ErrHostDuplicate},
	{"host with slash", get + "host: a/b\r\n\r\n", ErrHostInvalid},
	{"host with at", get + "host: u@a\r\n\r\n", ErrHostInvalid},
	{"host with space", get + "host: a b\r\n\r\n", ErrHostInvalid},
	{"host with high byte", get + "host: a\xc3\xa4\r\n\r\n", ErrHostInvalid},
	// Connection.
	{"nominates host", get + "host: a\r\nconnection: host\r\n\r\n", ErrConnection},
	{"nominates x-forwarded-for", get + "host: a\r\nconnection: close, X-Forwarded-For\r\n\r\n", ErrConnection},
	{"nominates content-length", get + "host: a\r\nconnection: content-length\r\ncontent-length: 3\r\n\r\nabc", ErrConnection},
	{"nominates a non-token", get + "host: a\r\nconnection: a b\r\n\r\n", ErrConnection},
	// Sizes.
	{"too many headers", get + "host: a\r\n" + strings.Repeat("a: b\r\n", 100) + "\r\n", ErrTooManyHeaders},
	{"head too large", get + "host: a\r\nx: " + strings.Repeat("a", 70<<10) + "\r\n\r\n", ErrHeadTooLarge},
	{"head without end", get + "x: " + strings.Repeat("a", 70<<10), ErrHeadTooLarge},
	{"method without end", strings.Repeat("A", 200), ErrMethod},
	// Chunks.
	{"chunk size empty", chunkedReq + "\r\n", ErrChunkSize},
	{"chunk size space before", chunkedReq + " 3\r\nabc\r\n0\r\n\r\n", ErrChunkSize},
	{"chunk size space behind", chunkedReq + "3 \r\nabc\r\n0\r\n\r\n", ErrChunkSize},
	{"chunk size minus", chunkedReq + "-1\r\n", ErrChunkSize},
	{"chunk size plus", chunkedReq + "+3\r\nabc\r\n0\r\n\r\n", ErrChunkSize},
	{"chunk size 0x", chunkedReq + "0x3\r\nabc\r\n0\r\n\r\n", ErrChunkSize},
	{"chunk size underscore", chunkedReq + "1_0\r\n", ErrChunkSize},
	{"chunk size overflow", chunkedReq + "10000000000000003\r\nabc", ErrChunkSize},
	{"chunk size many digits", chunkedReq + "fffffffffffffffff\r\n", ErrChunkSize},
	{"chunk size bare lf", chunkedReq + "3\nabc\r\n0\r\n\r\n", ErrChunkSize},
	{"chunk size cr without lf", chunkedReq + "3\rabc\r\n0\r\n\r\n", ErrBareCR},
	{"chunk without crlf", chunkedReq + "3\r\nabcd\r\n0\r\n\r\n", ErrChunkEnd},
	{"chunk with bare lf", chunkedReq + "3\r\nabc\n0\r\n\r\n", ErrChunkEnd},
	{"chunk with bare cr", chunkedReq + "3\r\nabc\rx0\r\n\r\n", ErrChunkEnd},
	{"extension with lf", chunkedReq + "3;a\nabc\r\n0\r\n\r\n", ErrChunkExtension},
	{"extension too long", chunkedReq + "3;" + strings.Repeat("a", 5000) + "\r\nabc", ErrChunkExtension},
	{"trailer content-length", chunkedReq + "0\r\ncontent-length: 3\r\n\r\n", ErrTrailer},
	{"trailer transfer-encoding", chunkedReq + "0\r\ntransfer-encoding: chunked\r\n\r\n", ErrTrailer},
	{"trailer host", chunkedReq + "0\r\nhost: b\r\n\r\n", ErrTrailer},
	{"trailer authorization", chunkedReq + "0\r\nauthorization: b\r\n\r\n", ErrTrailer},
	{"trailer bare lf", chunkedReq + "0\r\nx: y\n\r\n", ErrBareLF},
	{"trailer fold", chunkedReq + "0\r\nx: y\r\n z\r\n\r\n", ErrFold},
	{"trailer too large", chunkedReq + "0\r\nx: " + strings.Repeat("a", 20<<10) + "\r\n\r\n", ErrTrailer},
	{"trailer too many", chunkedReq + "0\r\n" + strings.Repeat("a: b\r\n", 65) + "\r\n", ErrTooManyHeaders},
}

const chunkedReq = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"

func TestHostile(t *testing.T) {
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []int{1 << 20, 1} {
				_, _, _, _, err := parseAll(c.in, step, &Limits{AcceptHTTP10: true})
				if err != c.want {
					t.Errorf("%d bytes at a time: %v, want %v", step, err, c.want)
				}
			}
		})
	}
	if _, _, _, _, err := parseAll("GET / HTTP/1.0\r\n\r\n", 100, &Limits{}); err != ErrHTTP10 {
		t.Errorf("HTTP/1.0: %v, want %v", err, ErrHTTP10)
	}
}

func TestRequests(t *testing.T) {
	f := func(name, in, head, body, rest string) {
		t.Helper()
		for _, step := range []int{1 << 20, 7, 1} {
			gotHead, gotBody, gotRest, _, err := parseAll(in, step, &Limits{AcceptHTTP10: true})
			if err != nil {
				t.Errorf("%s, step %d: %v", name, step, err)
				continue
			}
			if gotHead != head || gotBody != body || gotRest != rest {
				t.Errorf("%s, step %d:\ngot  %q %q %q\nwant %q %q %q", name, step, gotHead, gotBody, gotRest, head, body, rest)
			}
		}
	}
	f("get", "GET /a?b HTTP/1.1\r\nHost: A.example:80\r\nX-Y:  z \t\r\nempty:\r\n\r\n",
		":method: GET\n:path: /a?b\n:authority: A.example:80\nx-y: z\nempty: \n", "", "")
	f("empty lines first", "\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", ":method: GET\n:path: /\n:authority: a\n", "", "")
	f("pipelined", "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2", ":method: GET\n:path: /1\n:authority: a\n", "", "GET /2")
	f("length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloGET", ":method: POST\n:path: /\n:authority: a\ncontent-length: 5\n", "hello", "GET")
	f("length 0", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\nGET", ":method: POST\n:path: /\n:authority: a\ncontent-length: 0\n", "", "GET")
	f("chunked", "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n00a;x=\"y\";z\r\n, worlds!!\r\n0\r\n\r\nGET",
		":method: POST\n:path: /\n:authority: a\n", "hello, worlds!!", "GET")
	f("trailers", chunkedReq+"3\r\nabc\r\n0\r\nX-Sum: 1\r\ngrpc-status: 0\r\n\r\nrest",
		":method: POST\n:path: /\n:authority: a\n[x-sum: 1]\n[grpc-status: 0]\n", "abc", "rest")
	f("absolute form", "GET http://B.example/p?q HTTP/1.1\r\nhost: a\r\n\r\n", ":method: GET\n:scheme: http\n:authority: B.example\n:path: /p?q\n", "", "")
	f("absolute form without path", "GET http://b HTTP/1.1\r\nhost: a\r\n\r\n", ":method: GET\n:scheme: http\n:authority: b\n:path: /\n", "", "")
	f("absolute form with query only", "GET http://b?q HTTP/1.1\r\nhost: a\r\n\r\n", ":method: GET\n:scheme: http\n:authority: b\n:path: /?q\n", "", "")
	f("asterisk", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", ":method: OPTIONS\n:path: *\n:authority: a\n", "", "")
	f("connect", "CONNECT a.example:443 HTTP/1.1\r\nhost: x\r\n\r\nbytes", ":method: CONNECT\n:authority: a.example:443\n", "", "bytes")
	f("ipv6 host", "GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", ":method: GET\n:path: /\n:authority: [::1]:80\n", "", "")
	f("hop by hop", "GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, X-Drop\r\nx-drop: 1\r\nkeep-alive: 5\r\nproxy-connection: x\r\nte: trailers, gzip\r\nx-keep: 2\r\n\r\n",
		":method: GET\n:path: /\n:authority: a\nx-keep: 2\nte: trailers\n", "", "")
	f("1.0 without host", "GET / HTTP/1.0\r\n\r\n", ":method: GET\n:path: /\n", "", "")
	f("obs-text", "GET / HTTP/1.1\r\nhost: a\r\nx: \xc3\xa4\xff\r\n\r\n", ":method: GET\n:path: /\n:authority: a\nx: \xc3\xa4\xff\n", "", "")
	f("websocket", "GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n", ":method: GET\n:path: /\n:authority: a\nconnection: Upgrade\nupgrade: websocket\n", "", "")
}

func TestMessage(t *testing.T) {
	f := func(in string, want Message) {
		t.Helper()
		want.FieldBytes = fieldBytes(in)
		_, _, _, m, err := parseAll(in, 1<<20, &Limits{AcceptHTTP10: true, AllowChunkedLength: true})
		if err != nil {
			t.Errorf("%q: %v", in, err)
		} else if m != want {
			t.Errorf("%q:\ngot  %+v\nwant %+v", in, m, want)
		}
	}
	f(get+"host: a\r\n\r\n", Message{Minor: 1, KeepAlive: true})
	f(get+"host: a\r\nconnection: close\r\n\r\n", Message{Minor: 1})
	f("GET / HTTP/1.0\r\n\r\n", Message{})
	f("GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n", Message{KeepAlive: true})
	f("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n", Message{Minor: 1, KeepAlive: true, Head: true})
	f("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\ncontent-length: 1\r\n\r\nx", Message{Minor: 1, KeepAlive: true, Expect100: true, Framing: ByLength, Length: 1})
	f("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Message{Minor: 1, KeepAlive: true, Framing: Chunked})
}

func TestEncodeRequest(t *testing.T) {
	var h header.Map
	h.AddString(header.Method, "POST")
	h.AddString(header.Path, "/p")
	h.AddString(header.Authority, "a:80")
	h.AddName("x-custom-name", []byte("v"))
	var out iobuf.Buffer
	AppendRequest(&out, &h, &Head{Chunked: true})
	AppendChunk(&out, nil)
	AppendChunk(&out, []byte("hello, chunks! 16"))
	var tr header.Map
	tr.AddName("x-sum", []byte("1"))
	AppendLastChunk(&out, &tr)
	want := "POST /p HTTP/1.1\r\nhost: a:80\r\nx-custom-name: v\r\ntransfer-encoding: chunked\r\n\r\n11\r\nhello, chunks! 16\r\n0\r\nx-sum: 1\r\n\r\n"
	if got := string(out.Bytes()); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	out.Reset()
	AppendRequest(&out, &h, &Head{Proper: true, Close: true})
	want = "POST /p HTTP/1.1\r\nHost: a:80\r\nX-Custom-Name: v\r\nConnection: close\r\n\r\n"
	if got := string(out.Bytes()); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
