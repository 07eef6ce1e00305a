package differential

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// quiet is how long a connection must stay silent after its last response to count as kept.
const quiet = 40 * time.Millisecond

// seen is what a client got.
type seen struct {
	responses []message // interim ones included
	rest      []byte    // behind the last one, or everything when it is not HTTP
	end       string    // kept, closed, reset
	late      bool      // not all that was waited for came in time
	h2        *h2view   // instead of responses, of a client that speaks HTTP/2
	tls       string    // protocol and certificate of the proxy, or why there is none
}

// incoming collects what a connection brings.
type incoming struct {
	chunks chan []byte
	all    []byte
	end    string // "" while open
}

func receive(c net.Conn) *incoming {
	in := &incoming{chunks: make(chan []byte, 64)}
	go func() {
		defer close(in.chunks)
		buf := make([]byte, 16<<10)
		for {
			n, err := c.Read(buf)
			if n > 0 {
				in.chunks <- append([]byte(nil), buf[:n]...)
			}
			if err != nil {
				end := "closed"
				if errors.Is(err, syscall.ECONNRESET) {
					end = "reset"
				} else if !errors.Is(err, io.EOF) {
					end = "closed" // by ourselves, or a TLS alert
				}
				in.chunks <- []byte(nil)
				in.chunks <- []byte(end)
				return
			}
		}
	}()
	return in
}

// more waits for more bytes or the end; false when there was neither.
func (in *incoming) more(d time.Duration) bool {
	if in.end != "" {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case b := <-in.chunks:
		if b == nil {
			in.end = string(<-in.chunks)
			return true
		}
		in.all = append(in.all, b...)
		return true
	case <-t.C:
		return false
	}
}

var requestLine = regexp.MustCompile(`(?m)^([A-Z]+) \S+ HTTP/1\.`)

// methods are those of the requests that a case sends, as far as they can be told.
func (c *testCase) methods() []string {
	var all []byte
	for _, s := range c.steps {
		all = append(all, s.bytes...)
	}
	var out []string
	for _, m := range requestLine.FindAllSubmatch(all, -1) {
		out = append(out, string(m[1]))
	}
	return out
}

// play does what the case says on a new connection.
func (c *testCase) play(addr string, certs *certificates) (out seen, err error) {
	raw, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if errors.Is(err, syscall.ECONNRESET) { // it was accepted, and ended faster than this returned
		out.end = "reset"
		return out, nil
	}
	if err != nil {
		return out, err
	}
	defer raw.Close()
	var conn net.Conn = raw
	if c.tls != nil {
		tc := tls.Client(raw, certs.clientTLS(c.tls))
		raw.SetDeadline(time.Now().Add(c.wait))
		if err := tc.Handshake(); err != nil {
			out.tls = "handshake fails"
			out.end = "closed"
			return out, nil
		}
		raw.SetDeadline(time.Time{})
		s := tc.ConnectionState()
		out.tls = fmt.Sprintf("%s alpn=%q cert=%s", tls.VersionName(s.Version), s.NegotiatedProtocol, s.PeerCertificates[0].Subject.CommonName)
		conn = tc
	}
	if c.h2 {
		err := c.playH2(conn, raw.(*net.TCPConn), &out)
		return out, err
	}
	in := receive(conn)
	deadline := time.Now().Add(c.wait)
	methods := c.methods()
	read := 0
	for _, s := range c.steps {
		switch s.kind {
		case stepSend:
			if _, err := conn.Write(s.bytes); err != nil && !broken(err) {
				return out, err
			}
		case stepRead:
			read++
			in.await(deadline, func() bool { return c.raw && len(in.all) > 0 || !c.raw && countFinal(in.parse(methods)) >= read })
		case stepPause:
			for end := time.Now().Add(s.pause); time.Until(end) > 0 && in.end == ""; {
				in.more(time.Until(end))
			}
		case stepStay:
			for end := time.Now().Add(s.pause); time.Until(end) > 0; {
				if in.end != "" {
					time.Sleep(time.Until(end)) // what this client does
				}
				in.more(time.Until(end))
			}
		case stepEOF:
			conn.(interface{ CloseWrite() error }).CloseWrite()
		case stepClose:
			conn.Close()
			out.end = "closed by the client"
			return out, nil
		case stepReset:
			raw.(*net.TCPConn).SetLinger(0)
			raw.Close()
			out.end = "reset by the client"
			return out, nil
		}
	}
	out.late = !in.await(deadline, func() bool { return c.raw && len(in.all) > 0 || !c.raw && countFinal(in.parse(methods)) >= c.responses })
	for !out.late && in.end == "" && in.more(quiet) {
	}
	out.end = in.end
	if out.end == "" {
		out.end = "kept"
	}
	if c.raw {
		out.rest = in.all
		return out, nil
	}
	out.responses, out.rest = in.parse(methods)
	return out, nil
}

func broken(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed)
}

// await reads until done, the end, or the deadline; it reports whether it came to one of the
// first two.
func (in *incoming) await(deadline time.Time, done func() bool) bool {
	for !done() {
		if in.end != "" {
			return true
		}
		if left := time.Until(deadline); left <= 0 || !in.more(left) {
			return in.end != "" || done()
		}
	}
	return true
}

func countFinal(responses []message, _ []byte) int {
	n := 0
	for _, r := range responses {
		if !r.cut && !r.interim() {
			n++
		}
	}
	return n
}

func (m *message) status() string {
	f := strings.Fields(m.line)
	if len(f) < 2 {
		return ""
	}
	return f[1]
}

func (m *message) interim() bool {
	s := m.status()
	return strings.HasPrefix(s, "1") && s != "101"
}

// parse reads what came as responses. One that is not complete is marked as cut.
func (in *incoming) parse(methods []string) (out []message, rest []byte) {
	b := in.all
	final := 0
	for len(b) > 0 {
		i := bytes.Index(b, []byte("\r\n\r\n"))
		if i < 0 || !bytes.HasPrefix(b, []byte("HTTP/")) {
			return out, b
		}
		m := parseHead(b[:i+4])
		b = b[i+4:]
		method := ""
		if final < len(methods) {
			method = methods[final]
		}
		status := m.status()
		switch {
		case status == "101" || method == "CONNECT" && strings.HasPrefix(status, "2"):
			m.framing, m.body, b = "tunnel", b, nil
		case m.interim() || status == "204" || status == "304" || method == "HEAD":
			m.framing += ", no body"
		default:
			r := bufio.NewReader(bytes.NewReader(b))
			complete := readBody(r, &m, true)
			if m.framing == "close" {
				m.cut = in.end == ""
			} else {
				m.cut = !complete
			}
			left, _ := io.ReadAll(r)
			b = left
		}
		if !m.interim() {
			final++
		}
		out = append(out, m)
	}
	return out, nil
}
