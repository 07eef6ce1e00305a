package http1

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// TestRequestsKeepCase follows names from the head that they came in to the one that is written: of several ways the first
// counts, what was taken out and put back too, and what did not come is in lower case, or Like-This.
func TestRequestsKeepCase(t *testing.T) {
	const in = "POST / HTTP/1.1\r\nHoST: a\r\nX-Two: 1\r\nx-two: 2\r\nCONTENT-type: t\r\nX-Gone: 3\r\nTRANSFER-Encoding: chunked\r\n" +
		"Connection: x-GONE\r\nX-BACK: 4\r\n\r\n"
	f := func(policy *header.CasePolicy, proper bool, want string) {
		t.Helper()
		var h header.Map
		var m Message
		scanned := 0
		if n, err := ParseRequest([]byte(in), &h, &m, &Limits{Case: policy}, &scanned); err != nil || n != len(in) {
			t.Fatal(n, err)
		}
		h.RemoveName("x-back")
		h.AddName("x-back", []byte("5"))
		h.AddName("x-gone", []byte("6"))
		h.AddName("x-new_1a.b", []byte("7"))
		var out iobuf.Buffer
		AppendRequest(&out, &h, &Head{Chunked: true, Close: true, Proper: proper})
		got := strings.NewReplacer(": ", ":", "\r\n", " ").Replace(string(out.Bytes()))
		if got != "POST / HTTP/1.1 "+want+"  " {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	f(nil, false, "host:a x-two:1 x-two:2 content-type:t x-back:5 x-gone:6 x-new_1a.b:7 transfer-encoding:chunked connection:close")
	f(nil, true, "Host:a X-Two:1 X-Two:2 Content-Type:t X-Back:5 X-Gone:6 X-New_1a.B:7 Transfer-Encoding:chunked Connection:close")
	f(&header.CasePolicy{}, false, "HoST:a X-Two:1 X-Two:2 CONTENT-type:t X-BACK:5 X-Gone:6 x-new_1a.b:7 TRANSFER-Encoding:chunked Connection:close")
	f(&header.CasePolicy{}, true, "HoST:a X-Two:1 X-Two:2 CONTENT-type:t X-BACK:5 X-Gone:6 x-new_1a.b:7 TRANSFER-Encoding:chunked Connection:close")
	f(&header.CasePolicy{Proper: true}, false, "HoST:a X-Two:1 X-Two:2 CONTENT-type:t X-BACK:5 X-Gone:6 X-New_1a.B:7 TRANSFER-Encoding:chunked Connection:close")
}

func TestReasonsAreForwarded(t *testing.T) {
	f := func(line string, forward bool, want string) {
		t.Helper()
		var h header.Map
		var m Message
		scanned := 0
		in := line + "\r\nX-A: b\r\ncontent-length: 0\r\n\r\n"
		if n, err := ParseResponse([]byte(in), &h, &m, &Limits{Case: &header.CasePolicy{Reason: forward}}, false, false, &scanned); err != nil || n != len(in) {
			t.Fatal(n, err)
		}
		var out iobuf.Buffer
		AppendResponse(&out, &h, &Head{Status: m.Status})
		if got := string(out.Bytes()); got != want+"\r\nX-A: b\r\ncontent-length: 0\r\n\r\n" {
			t.Errorf("got %q", got)
		}
	}
	f("HTTP/1.1 200 Fine, thanks", true, "HTTP/1.1 200 Fine, thanks")
	f("HTTP/1.1 200 Fine, thanks", false, "HTTP/1.1 200 OK")
	f("HTTP/1.1 200", true, "HTTP/1.1 200 OK")
	f("HTTP/1.1 404 ", true, "HTTP/1.1 404 Not Found")
}

// TestCaseOfManyNames holds that many names, as a hostile peer may send them, are all remembered.
func TestCaseOfManyNames(t *testing.T) {
	const n = 5000
	var in strings.Builder
	in.WriteString("GET / HTTP/1.1\r\nHost: a\r\n")
	for i := range n {
		fmt.Fprintf(&in, "X-%d-y: 1\r\n", i)
	}
	in.WriteString("\r\n")
	var h header.Map
	var m Message
	for range 2 { // the second time in memory that was used
		h.Reset()
		scanned := 0
		if got, err := ParseRequest([]byte(in.String()), &h, &m, &Limits{MaxHeadBytes: 1 << 20, MaxHeaders: 2 * n, Case: &header.CasePolicy{}}, &scanned); err != nil || got != in.Len() {
			t.Fatal(got, err)
		}
		var out iobuf.Buffer
		AppendRequest(&out, &h, &Head{})
		if got, want := string(out.Bytes()), in.String(); got != want {
			t.Fatalf("got %d bytes, want %d", len(got), len(want))
		}
	}
}

// sameButNames holds that two blocks, of which the second keeps the case of names, are written alike but for that, and the first line.
func sameButNames(t *testing.T, plain, cased *header.Map, write func(*iobuf.Buffer, *header.Map)) {
	t.Helper()
	var a, b iobuf.Buffer
	write(&a, plain)
	write(&b, cased)
	linesA, linesB := bytes.Split(a.Bytes(), []byte("\r\n"))[1:], bytes.Split(b.Bytes(), []byte("\r\n"))[1:]
	if len(linesA) != len(linesB) {
		t.Fatalf("%q\n%q", a.Bytes(), b.Bytes())
	}
	for i := range linesA {
		nameA, valueA, _ := bytes.Cut(linesA[i], []byte(":"))
		nameB, valueB, _ := bytes.Cut(linesB[i], []byte(":"))
		if !bytes.EqualFold(nameA, nameB) || !bytes.Equal(valueA, valueB) {
			t.Fatalf("%q\n%q", linesA[i], linesB[i])
		}
	}
}
