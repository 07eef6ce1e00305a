package http1

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// fieldBytes is Message.FieldBytes of a head whose fields have one space before their values, and none behind.
func fieldBytes(head string) int {
	_, fields, _ := strings.Cut(head, "\r\n")
	fields, _, _ = strings.Cut(fields, "\r\n\r\n")
	if fields == "" || fields == "\r\n" {
		return 0
	}
	return len(fields) + len("\r\n") - strings.Count(fields, ": ")
}

func TestResponses(t *testing.T) {
	f := func(name, in string, head, connect bool, want Message, wantErr *Error) {
		t.Helper()
		for _, step := range []int{1 << 20, 1} {
			var h header.Map
			var m Message
			scanned, n := 0, 0
			var err *Error
			for i := 0; n == 0 && err == nil && i < len(in); {
				i = min(i+step, len(in))
				n, err = ParseResponse([]byte(in[:i]), &h, &m, &Limits{}, head, connect, &scanned)
			}
			if err != wantErr {
				t.Errorf("%s, step %d: error %v, want %v", name, step, err, wantErr)
			} else if err == nil && (m != want || n == 0) {
				t.Errorf("%s, step %d: n %d\ngot  %+v\nwant %+v", name, step, n, m, want)
			}
		}
	}
	ok := func(name, in string, want Message) {
		t.Helper()
		want.Minor, want.FieldBytes = 1, fieldBytes(in)
		f(name, in, want.Head, want.Connect, want, nil)
	}
	ok("length", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Message{Status: 200, KeepAlive: true, Framing: ByLength, Length: 5})
	ok("no reason", "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", Message{Status: 200, KeepAlive: true})
	ok("empty reason", "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n", Message{Status: 200, KeepAlive: true})
	ok("chunked", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Message{Status: 200, KeepAlive: true, Framing: Chunked})
	ok("until close", "HTTP/1.1 200 OK\r\n\r\n", Message{Status: 200, Framing: UntilClose})
	ok("close", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\n", Message{Status: 200, Closes: true, Framing: ByLength, Length: 1})
	ok("head", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Message{Status: 200, KeepAlive: true, Head: true})
	ok("head chunked", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Message{Status: 200, KeepAlive: true, Head: true})
	ok("204", "HTTP/1.1 204 No Content\r\n\r\n", Message{Status: 204, KeepAlive: true})
	ok("304", "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", Message{Status: 304, KeepAlive: true})
	ok("100", "HTTP/1.1 100 Continue\r\n\r\n", Message{Status: 100, KeepAlive: true})
	ok("connect", "HTTP/1.1 200 OK\r\n\r\n", Message{Status: 200, KeepAlive: true, Connect: true, Framing: Tunnel})
	ok("101", "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", Message{Status: 101, KeepAlive: true, Upgrade: true, Framing: Tunnel})
	bad := func(name, in string, want *Error) { t.Helper(); f(name, in, false, false, Message{}, want) }
	bad("both lengths", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", ErrLengthAndChunked)
	bad("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", ErrLengthDuplicate)
	bad("204 chunked", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n", ErrTEOnNoBody)
	bad("status 99", "HTTP/1.1 099 X\r\n\r\n", ErrStatusLine)
	bad("status 600", "HTTP/1.1 600 X\r\n\r\n", ErrStatusLine)
	bad("status letters", "HTTP/1.1 2x0 X\r\n\r\n", ErrStatusLine)
	bad("status four digits", "HTTP/1.1 2000 X\r\n\r\n", ErrStatusLine)
	bad("version", "HTTP/1.3 200 X\r\n\r\n", ErrVersion)
	bad("no http", "SSH-2.0-OpenSSH\r\n\r\n", ErrStatusLine)
	bad("bare lf", "HTTP/1.1 200 OK\nx: y\r\n\r\n", ErrBareLF)
	bad("fold", "HTTP/1.1 200 OK\r\nx: y\r\n z\r\n\r\n", ErrFold)
	bad("reason with cr", "HTTP/1.1 200 O\rK\r\n\r\n", ErrStatusLine)
	bad("1.0 chunked", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", ErrTEOnHTTP10)
}

func TestEncodeResponse(t *testing.T) {
	var h header.Map
	h.AddString(header.Status, "200")
	h.AddString(header.Server, "envoy")
	f := func(o Head, want string) {
		t.Helper()
		var out iobuf.Buffer
		AppendResponse(&out, &h, &o)
		if got := string(out.Bytes()); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	f(Head{Status: 200}, "HTTP/1.1 200 OK\r\nserver: envoy\r\n\r\n")
	f(Head{Status: 404, Close: true, Chunked: true}, "HTTP/1.1 404 Not Found\r\nserver: envoy\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n")
	f(Head{Status: 598, Minor10: true}, "HTTP/1.0 598 Unknown\r\nserver: envoy\r\nconnection: keep-alive\r\n\r\n")
	f(Head{Status: 101, Upgrade: true}, "HTTP/1.1 101 Switching Protocols\r\nserver: envoy\r\nconnection: upgrade\r\n\r\n")
}

// FuzzRequest holds that a parse does not depend on how the bytes were cut, never panics,
// and that what was accepted reads the same after it was written anew.
func FuzzRequest(f *testing.F) {
	for _, c := range hostile {
		f.Add([]byte(c.in), uint8(3))
	}
	f.Add([]byte("GET /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		l := &Limits{AcceptHTTP10: true}
		head1, body1, rest1, m1, err1 := parseAll(string(in), len(in)+1, l)
		head2, body2, rest2, m2, err2 := parseAll(string(in), int(step)+1, l)
		if err1 == nil != (err2 == nil) || err1 == nil && (head1 != head2 || body1 != body2 || rest1 != rest2 || m1 != m2) {
			t.Fatalf("differs by cut:\n%q %q %q %v\n%q %q %q %v", head1, body1, rest1, err1, head2, body2, rest2, err2)
		}
		if err1 != nil || m1.Connect || m1.Minor == 0 {
			return
		}
		var h header.Map
		var m Message
		scanned := 0
		again := append([]byte(nil), in...)
		n1, err := ParseRequest(again, &h, &m, l, &scanned)
		if err != nil || n1 == 0 {
			t.Fatalf("second parse: %d, %v", n1, err)
		}
		// A head may be parsed once more where it lies (hcm does, behind a copy).
		var h2 header.Map
		var mAgain Message
		if n2, err := ParseRequest(again[:n1], &h2, &mAgain, l, &scanned); err != nil || n2 != n1 || mAgain != m || h2.Len() != h.Len() {
			t.Fatalf("third parse: %d, %v, %+v", n2, err, mAgain)
		}
		var out iobuf.Buffer
		AppendRequest(&out, &h, &Head{Chunked: m.Framing == Chunked})
		if m.Framing == Chunked {
			AppendChunk(&out, []byte(body1))
			AppendLastChunk(&out, nil)
		} else {
			out.AppendString(body1)
		}
		_, body3, rest3, m3, err3 := parseAll(string(out.Bytes()), 1<<20, &Limits{MaxHeadBytes: 1 << 20, MaxHeaders: 200})
		if err3 != nil || body3 != body1 || rest3 != "" || m3.Framing != m.Framing {
			t.Fatalf("written anew: %q\nbody %q rest %q %+v: %v", out.Bytes(), body3, rest3, m3, err3)
		}
		// Names that keep their case change nothing else.
		cased := *l
		cased.Case = &header.CasePolicy{Proper: step%2 == 0}
		var h4 header.Map
		scanned = 0
		if n, err := ParseRequest(append([]byte(nil), in...), &h4, &m, &cased, &scanned); err != nil || n != n1 {
			t.Fatalf("with names in their case: %d, %v", n, err)
		}
		sameButNames(t, &h, &h4, func(out *iobuf.Buffer, h *header.Map) { AppendRequest(out, h, &Head{Chunked: m.Framing == Chunked}) })
	})
}

// FuzzResponse holds the same of responses.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: a\r\n\r\n5;x=\"y\"\r\nhello\r\n0\r\na: b\r\n\r\n",
		"HTTP/1.0 200 OK\r\nconnection: x, keep-alive\r\nx: y\r\n\r\nuntil the end",
		"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nx",
		"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(3), uint8(0))
		f.Add([]byte(s), uint8(0), uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, step, to uint8) {
		head, connect := to%3 == 1, to%3 == 2
		head1, body1, rest1, m1, err1 := parseAllOfResponse(string(in), len(in)+1, head, connect)
		head2, body2, rest2, m2, err2 := parseAllOfResponse(string(in), int(step)+1, head, connect)
		if err1 == nil != (err2 == nil) || err1 == nil && (head1 != head2 || body1 != body2 || rest1 != rest2 || m1 != m2) {
			t.Fatalf("differs by cut:\n%q %q %q %v\n%q %q %q %v", head1, body1, rest1, err1, head2, body2, rest2, err2)
		}
		if err1 != nil || m1.Framing == Tunnel {
			return
		}
		var h header.Map
		var m Message
		scanned := 0
		if n, err := ParseResponse(append([]byte(nil), in...), &h, &m, &Limits{}, head, connect, &scanned); err != nil || n == 0 {
			t.Fatalf("second parse: %d, %v", n, err)
		}
		chunked := m.Framing == Chunked || m.Framing == UntilClose
		var out iobuf.Buffer
		AppendResponse(&out, &h, &Head{Status: m.Status, Chunked: chunked})
		if chunked {
			AppendChunk(&out, []byte(body1))
			AppendLastChunk(&out, nil)
		} else {
			out.AppendString(body1)
		}
		_, body3, rest3, m3, err3 := parseAllOfResponse(string(out.Bytes()), 1<<20, head, connect)
		if err3 != nil || body3 != body1 || rest3 != "" || (m3.Framing == Chunked) != chunked || m3.Status != m.Status {
			t.Fatalf("written anew: %q\nbody %q rest %q %+v: %v", out.Bytes(), body3, rest3, m3, err3)
		}
		var h4 header.Map
		scanned = 0
		l := Limits{Case: &header.CasePolicy{Proper: step%2 == 0}}
		if n, err := ParseResponse(append([]byte(nil), in...), &h4, &m, &l, head, connect, &scanned); err != nil || n == 0 {
			t.Fatalf("with names in their case: %d, %v", n, err)
		}
		sameButNames(t, &h, &h4, func(out *iobuf.Buffer, h *header.Map) {
			AppendResponse(out, h, &Head{Status: m.Status, Chunked: chunked})
		})
	})
}
