package differential

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// origin is the scripted server behind one proxy. What it received is compared, too.
type origin struct {
	name string
	lis  net.Listener

	mu       sync.Mutex
	answers  []answer
	received []message
	conns    map[net.Conn]bool
	wg       sync.WaitGroup
	grpc     *http.Server // of an authorizer or collector; nil: none
}

// startOrigin listens. A name that begins with "tcp-" is no HTTP: "tcp-echo" sends back what
// it gets until the end, "tcp-greet" says one line and closes, "tcp-sink" answers the number of
// bytes when all is there. One that begins with "tls-" speaks TLS with the certificate server, and
// "authz-" is an authorizer over gRPC, "export-" a collector of access logs and spans.
func startOrigin(name, addr string, certs *certificates) (*origin, error) {
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(name, "tls-") {
		cfg := certs.originTLS()
		if speaksH2(name) {
			cfg.NextProtos = []string{"h2", "http/1.1"}
		}
		lis = tls.NewListener(lis, cfg)
	}
	o := &origin{name: name, lis: lis, conns: map[net.Conn]bool{}}
	if strings.HasPrefix(name, "authz-") {
		o.grpc = serveAuthz(o, lis)
		return o, nil
	}
	if strings.HasPrefix(name, "export-") {
		o.grpc = serveCollector(o, lis)
		return o, nil
	}
	o.wg.Go(o.accept)
	return o, nil
}

func (o *origin) accept() {
	for {
		c, err := o.lis.Accept()
		if err != nil {
			return
		}
		o.mu.Lock()
		o.conns[c] = true
		o.mu.Unlock()
		o.wg.Go(func() {
			defer func() {
				c.Close()
				o.mu.Lock()
				delete(o.conns, c)
				o.mu.Unlock()
			}()
			switch {
			case o.name == "tcp-echo":
				io.Copy(c, c)
			case o.name == "tcp-greet":
				io.WriteString(c, "welcome\n")
			case o.name == "tcp-sink":
				n, _ := io.Copy(io.Discard, c)
				fmt.Fprintf(c, "%d bytes\n", n)
			case speaksH2(o.name) && negotiatesH2(c):
				o.serveH2(c)
			default:
				o.serve(c)
			}
		})
	}
}

func (o *origin) stop() {
	if o.grpc != nil {
		_ = o.grpc.Close()
	}
	o.lis.Close()
	o.dropConnections()
	o.wg.Wait()
}

// dropConnections ends what is open, so that a case starts with fresh connections.
func (o *origin) dropConnections() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.conns {
		c.Close()
	}
}

// script sets the answers to the next requests and forgets the earlier ones.
func (o *origin) script(a []answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers, o.received = a, nil
}

func (o *origin) seen() []message {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]message(nil), o.received...)
}

// next records a request and gives its answer.
func (o *origin) next(m message) (int, answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.received = append(o.received, m)
	if len(o.answers) == 0 {
		text := "HTTP/1.1 200 OK\r\ncontent-length: " + strconv.Itoa(3+len(o.name)) + "\r\nx-origin: " + o.name + "\r\n"
		if strings.HasPrefix(o.name, "show-") { // a request may come to any of several: the answer tells what it got
			text += "x-saw: " + saw(&m) + "\r\n"
		}
		text += "\r\n"
		if !strings.HasPrefix(m.line, "HEAD ") {
			text += "by " + o.name
		}
		return len(o.received) - 1, answer{bytes: []byte(text)}
	}
	a := o.answers[0]
	o.answers = o.answers[1:]
	return len(o.received) - 1, a
}

// record replaces a request by what is known of it now.
func (o *origin) record(i int, m message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i < len(o.received) {
		o.received[i] = m
	}
}

func (o *origin) serve(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		head, err := readHead(in)
		if err != nil {
			return
		}
		m := parseHead(head)
		i, a := o.next(m)
		if !a.early {
			if !readBody(in, &m, false) {
				m.cut = true
			}
			o.record(i, m)
			if m.cut {
				return
			}
		}
		if !o.answer(c, in, &a, i, &m) {
			return
		}
	}
}

// answer plays an answer; false when the connection is to end.
func (o *origin) answer(c net.Conn, in *bufio.Reader, a *answer, i int, m *message) bool {
	if a.delay > 0 {
		time.Sleep(a.delay)
	}
	if a.hang {
		io.Copy(io.Discard, in) // until the proxy gives up
		return false
	}
	if len(a.bytes) > 0 {
		if _, err := c.Write(a.bytes); err != nil {
			return false
		}
	}
	for _, r := range a.rest {
		time.Sleep(r.pause)
		if _, err := c.Write(r.bytes); err != nil {
			return false
		}
	}
	if a.echo {
		buf := make([]byte, 4096)
		for {
			n, err := in.Read(buf)
			if _, werr := c.Write(buf[:n]); err != nil || werr != nil {
				return false
			}
		}
	}
	if a.early && !a.close && !a.reset {
		ok := readBody(in, m, false)
		o.record(i, *m)
		return ok
	}
	if a.reset {
		if t, ok := c.(*net.TCPConn); ok {
			t.SetLinger(0)
		}
	}
	return !a.close && !a.reset
}

// message is an HTTP message as it came over the wire.
type message struct {
	line     string
	headers  []string // "name: value" in order
	body     []byte
	trailers []string
	framing  string // none, length, chunked, close, tunnel
	cut      bool   // ended before its end
}

func readHead(in *bufio.Reader) ([]byte, error) {
	var b []byte
	for !bytes.HasSuffix(b, []byte("\r\n\r\n")) {
		c, err := in.ReadByte()
		if err != nil {
			return b, err
		}
		b = append(b, c)
	}
	return b, nil
}

func parseHead(b []byte) message {
	lines := strings.Split(strings.TrimSuffix(string(b), "\r\n\r\n"), "\r\n")
	m := message{line: lines[0], headers: lines[1:], framing: "none"}
	for _, h := range m.headers {
		k, v, _ := strings.Cut(h, ":")
		switch strings.ToLower(k) {
		case "content-length":
			if m.framing == "none" {
				m.framing = "length"
			}
		case "transfer-encoding":
			if strings.EqualFold(strings.TrimSpace(v), "chunked") {
				m.framing = "chunked"
			}
		}
	}
	return m
}

func (m *message) header(name string) string {
	for _, h := range m.headers {
		if k, v, ok := strings.Cut(h, ":"); ok && strings.EqualFold(k, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// readBody reads the body that the head announces; false when the connection ended first. A
// body that ends with the connection is complete then.
func readBody(in *bufio.Reader, m *message, untilClose bool) bool {
	switch {
	case m.framing == "length":
		n, err := strconv.Atoi(m.header("content-length"))
		if err != nil {
			return false
		}
		b, err := io.ReadAll(io.LimitReader(in, int64(n)))
		m.body = append(m.body, b...)
		return err == nil && len(b) == n
	case m.framing == "chunked":
		return readChunks(in, m)
	case untilClose:
		m.framing = "close"
		b, err := io.ReadAll(in)
		m.body = append(m.body, b...)
		return err == nil
	}
	return true
}

func readChunks(in *bufio.Reader, m *message) bool {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseInt(size, 16, 64)
		if err != nil {
			return false
		}
		if n == 0 {
			break
		}
		b := make([]byte, n)
		k, err := io.ReadFull(in, b)
		m.body = append(m.body, b[:k]...)
		if err != nil {
			return false
		}
		if _, err := in.Discard(2); err != nil {
			return false
		}
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			return true
		}
		m.trailers = append(m.trailers, line)
	}
}
