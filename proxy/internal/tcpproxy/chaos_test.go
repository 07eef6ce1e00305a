package tcpproxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func selfSigned(t testing.TB) xdsresource.CommonTLS {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(crand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	kb, _ := x509.MarshalPKCS8PrivateKey(key)
	return xdsresource.CommonTLS{Certificates: []xdsresource.TLSSource[xdsresource.TLSCertificate]{{Inline: &xdsresource.TLSCertificate{
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb}),
	}}}}
}

// TestChaos runs many connections at once whose two ends write, read slowly, half-close, end
// and reset at random. What was written by one end in order must arrive at the other unless
// somebody was rude; and afterwards nothing may be left.
func TestChaos(t *testing.T) {
	for _, mode := range []string{"raw", "tls down", "tls both"} {
		t.Run(mode, func(t *testing.T) { chaos(t, mode) })
	}
}

func chaos(t *testing.T, mode string) {
	w := newWorld(t)
	w.ended = make(chan streaminfo.Info, 10000)
	secret := selfSigned(t)
	var back string
	if mode == "tls both" {
		// The upstream is another of our listeners: it ends TLS and goes on in the clear.
		w.cluster("inner", nil, backend(t, "tcp", rude))
		back = w.listen(&xdsresource.TCPProxy{Cluster: "inner", StatPrefix: "inner"}, Exchange{}, &xdsresource.DownstreamTLS{CommonTLS: secret})
	} else {
		back = backend(t, "tcp", rude)
	}
	w.cluster("outer", func(c *xdsresource.Cluster) {
		c.BufferLimit = 16 << 10
		if mode == "tls both" {
			c.Transport = &xdsresource.UpstreamTransport{TLS: &xdsresource.UpstreamTLS{}}
		}
	}, back)
	var down *xdsresource.DownstreamTLS
	if mode != "raw" {
		down = &xdsresource.DownstreamTLS{CommonTLS: secret}
	}
	addr := w.listen(&xdsresource.TCPProxy{Cluster: "outer", StatPrefix: "outer"}, Exchange{}, down)
	const clients, rounds = 16, 25
	var wg sync.WaitGroup
	for i := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(uint64(i), 7))
			for range rounds {
				visit(t, addr, down != nil, rnd)
			}
		}()
	}
	wg.Wait()
	deadline := time.Now().Add(time.Minute)
	for w.stat("cluster.outer.upstream_cx_active") != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d upstream connections are left", w.stat("cluster.outer.upstream_cx_active"))
		}
	}
}

// visit is one client: its first byte tells the backend how to behave.
func visit(t *testing.T, addr string, secure bool, rnd *rand.Rand) {
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(time.Minute))
	var c interface {
		net.Conn
		CloseWrite() error
	} = raw.(*net.TCPConn)
	if secure {
		c = tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	}
	behaviour := byte(rnd.IntN(5))
	size := rnd.IntN(1 << rnd.IntN(21))
	msg := make([]byte, size+1)
	msg[0] = behaviour
	for i := range msg[1:] {
		msg[i+1] = byte(i * 31)
	}
	rudeness := rnd.IntN(4)
	if rudeness == 1 || rudeness == 2 {
		// The backend may wait for an end that does not come.
		_ = raw.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if _, err := c.Write(msg); err == nil && rudeness != 1 {
			_ = c.CloseWrite()
		}
	}()
	switch rudeness {
	case 1: // leave in the middle
		_, _ = io.CopyN(io.Discard, c, int64(rnd.IntN(size+1)))
		_ = raw.Close()
	case 2: // reset
		_, _ = io.CopyN(io.Discard, c, int64(rnd.IntN(size+1)))
		_ = raw.(*net.TCPConn).SetLinger(0)
		_ = raw.Close()
	default:
		got, err := io.ReadAll(c)
		if behaviour == 0 || behaviour == 1 { // a polite echo
			if err != nil || len(got) != size {
				t.Errorf("behaviour %d: %d of %d bytes came back: %v", behaviour, len(got), size, err)
			}
		}
		for i, b := range got {
			if b != byte(i*31) {
				t.Errorf("byte %d differs", i)
				break
			}
		}
	}
	<-sent
}

// rude is a backend that does what the first byte says.
func rude(c net.Conn) {
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return
	}
	buf := make([]byte, 8<<10)
	switch b[0] {
	case 0: // echo as it comes
		_, _ = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, buf)
		_ = c.(*net.TCPConn).CloseWrite()
	case 1: // read it all, then answer
		all, _ := io.ReadAll(c)
		_, _ = c.Write(all)
	case 2: // answer a part, and leave
		n, _ := c.Read(buf)
		_, _ = c.Write(buf[:n])
	case 3: // reset in the middle
		_, _ = c.Read(buf)
		_ = c.(*net.TCPConn).SetLinger(0)
	case 4: // say nothing
	}
}
