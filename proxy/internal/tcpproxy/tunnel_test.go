package tcpproxy

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// farProxy is an HTTP proxy of either version. It says what the tunnel's bytes are back, and refuses the host no.example.
func farProxy(t testing.TB, seen func(*http.Request)) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if seen != nil {
			seen(r)
		}
		if strings.HasPrefix(r.Host, "no.") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		ctl := http.NewResponseController(w)
		if r.Method == http.MethodConnect && r.ProtoMajor == 1 {
			c, buf, err := ctl.Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
			_, _ = io.Copy(struct{ io.Writer }{c}, buf.Reader)
			return
		}
		if r.ProtoMajor == 1 {
			_ = ctl.EnableFullDuplex()
		}
		_ = ctl.Flush()
		_, _ = io.Copy(flushing{w, ctl}, r.Body)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

type flushing struct {
	io.Writer
	ctl *http.ResponseController
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.ctl.Flush()
	}
	return n, err
}

func speaking(p xdsresource.UpstreamProtocol) func(*xdsresource.Cluster) {
	return func(c *xdsresource.Cluster) {
		c.HTTP.Protocol, c.HTTP.MaxResponseHeaders, c.HTTP.MaxResponseHeadersKB = p, 100, 60
	}
}

// TestTunnel: bytes go there and back whole in each kind of request, and each side's end with them.
func TestTunnel(t *testing.T) {
	for _, version := range []xdsresource.UpstreamProtocol{xdsresource.UpstreamHTTP1, xdsresource.UpstreamHTTP2} {
		for _, post := range []bool{false, true} {
			t.Run(fmt.Sprintf("version %d, post %v", version, post), func(t *testing.T) {
				w := newWorld(t)
				requests := make(chan string, 10)
				w.cluster("c", speaking(version), farProxy(t, func(r *http.Request) {
					requests <- fmt.Sprintf("%s %s %s %v", r.Method, r.Host, r.URL.Path, r.Header["X-One"])
				}))
				addr := w.proxy(&xdsresource.TCPProxy{Cluster: "c", IdleTimeout: time.Hour, Tunnel: &xdsresource.TCPTunnel{
					Host: "far.example:443", Post: post, PostPath: "/in", Headers: []xdsresource.HeaderOp{{Name: "x-one", Value: "a"}},
				}})
				want := "CONNECT far.example:443  [a]"
				if post {
					want = "POST far.example:443 /in [a]"
				}
				for _, size := range []int{0, 1, 5000, 4 << 20} {
					msg := make([]byte, size)
					src := rand.NewChaCha8([32]byte{byte(size)})
					_, _ = src.Read(msg)
					c := dial(t, addr)
					go func() {
						_, _ = c.Write(msg)
						_ = c.CloseWrite()
					}()
					h := sha256.New()
					n, err := io.Copy(h, c)
					if sum := sha256.Sum256(msg); err != nil || n != int64(size) || !bytes.Equal(h.Sum(nil), sum[:]) {
						t.Fatalf("%d of %d bytes, or other ones: %v", n, size, err)
					}
					if got := <-requests; got != want {
						t.Errorf("request %q, want %q", got, want)
					}
					if i := <-w.ended; i.BytesReceived != uint64(size) || i.BytesSent != uint64(size) || i.Flags != 0 || i.UpstreamConnected == 0 {
						t.Errorf("record says %d in, %d out, flags %v", i.BytesReceived, i.BytesSent, i.Flags)
					}
				}
			})
		}
	}
}

// TestTunnelRefused: an answer that opens no tunnel is an attempt that has failed.
func TestTunnelRefused(t *testing.T) {
	for _, version := range []xdsresource.UpstreamProtocol{xdsresource.UpstreamHTTP1, xdsresource.UpstreamHTTP2} {
		w := newWorld(t)
		w.cluster("c", speaking(version), farProxy(t, nil))
		c := dial(t, w.proxy(&xdsresource.TCPProxy{Cluster: "c", MaxConnectAttempts: 3, Tunnel: &xdsresource.TCPTunnel{Host: "no.example:1"}}))
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatalf("%d bytes came", n)
		}
		i := <-w.ended
		if i.Flags != streaminfo.UpstreamConnectionFailure|streaminfo.UpstreamRetryLimitExceeded || i.Attempts != 3 || i.UpstreamFailure != "tunnel_response:403" {
			t.Errorf("flags %v, %d attempts, %q", i.Flags, i.Attempts, i.UpstreamFailure)
		}
	}
}

// TestTunnelAbandoned: a client that leaves takes the request with it.
func TestTunnelAbandoned(t *testing.T) {
	for _, version := range []xdsresource.UpstreamProtocol{xdsresource.UpstreamHTTP1, xdsresource.UpstreamHTTP2} {
		w := newWorld(t)
		w.cluster("c", speaking(version), farProxy(t, nil))
		c := dial(t, w.proxy(&xdsresource.TCPProxy{Cluster: "c", Tunnel: &xdsresource.TCPTunnel{Host: "far.example:1"}}))
		_, _ = c.Write([]byte("x"))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		_ = c.SetLinger(0)
		_ = c.Close()
		<-w.ended
		for w.stat("cluster.c.upstream_rq_active") != 0 {
			continue
		}
	}
}

// TestTunnelUnanswered: where no answer comes, a session's time ends it, and the connection with it.
func TestTunnelUnanswered(t *testing.T) {
	w := newWorld(t)
	gone := make(chan struct{})
	w.cluster("c", speaking(xdsresource.UpstreamHTTP1), backend(t, "tcp", func(c net.Conn) {
		_, _ = io.Copy(io.Discard, c)
		close(gone)
	}))
	dial(t, w.proxy(&xdsresource.TCPProxy{
		Cluster: "c", Tunnel: &xdsresource.TCPTunnel{Host: "far.example:1"}, MaxDownstreamConnectionDuration: 50 * time.Millisecond,
	}))
	if i := <-w.ended; i.Flags&streaminfo.DurationTimeout == 0 {
		t.Errorf("flags %v", i.Flags)
	}
	<-gone
}

// TestTunnelRequestID: the request has an ID, which the log can print as metadata.
func TestTunnelRequestID(t *testing.T) {
	w := newWorld(t)
	ids := make(chan string, 1)
	w.cluster("c", speaking(xdsresource.UpstreamHTTP1), farProxy(t, func(r *http.Request) { ids <- r.Header.Get("X-Trace") }))
	c := dial(t, w.proxy(&xdsresource.TCPProxy{Cluster: "c", Tunnel: &xdsresource.TCPTunnel{Host: "far.example:1", RequestIDHeader: "x-trace", RequestIDKey: "k"}}))
	exchange(t, c)
	_ = c.Close()
	id, i := <-ids, <-w.ended
	if len(id) != 36 || i.Metadata["envoy.filters.network.tcp_proxy"]["k"] != id {
		t.Errorf("the request has %q, the connection %v", id, i.Metadata)
	}
}
