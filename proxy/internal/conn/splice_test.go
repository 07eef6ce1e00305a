package conn

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// forwarder sends what it reads to another connection.
type forwarder struct {
	*recorder
	to      *Conn
	spliced int
}

func (f *forwarder) OnSpliced(_ *Conn, n int) { f.spliced += n }

func (f *forwarder) OnData(c *Conn, eof bool) {
	f.to.Out().Move(c.In())
	f.to.Flush()
	if eof {
		f.to.CloseWrite()
	}
	if f.to.AboveHighWatermark() {
		c.PauseRead()
	}
}

// TestSplice: a bulk transfer goes through the kernel, in order, behind and before bytes that
// do not, to a reader that stalls.
func TestSplice(t *testing.T) {
	h := start(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	pair := func(f Handler) (net.Conn, *Conn) {
		var c *Conn
		h.do(func() { c = Dial(h.Loop, address(ln), DialOptions{}, f) })
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return nc, c
	}
	src := &forwarder{recorder: record()}
	dst := record()
	in, a := pair(src)
	out, b := pair(dst)
	<-src.connected
	<-dst.connected
	h.do(func() {
		src.to = b
		dst.writable = func(*Conn) { a.ResumeRead() }
		a.SpliceTo(b)
	})
	msg := make([]byte, 24<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(msg)
	go func() {
		for p := msg; len(p) > 0; { // large pieces and small ones
			n := min(len(p), 1+rand.IntN(1<<rand.IntN(23)))
			_, _ = in.Write(p[:n])
			p = p[n:]
		}
		_ = in.(*net.TCPConn).CloseWrite()
	}()
	sum := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{out}, make([]byte, 64<<10))
	if err != nil || n != int64(len(msg)) {
		t.Fatalf("%d of %d bytes: %v", n, len(msg), err)
	}
	if want := sha256.Sum256(msg); string(sum.Sum(nil)) != string(want[:]) {
		t.Fatal("the bytes differ")
	}
	h.do(func() {
		if src.spliced == 0 {
			t.Error("nothing was spliced")
		}
		if x, _ := a.Bytes(); x != uint64(len(msg)) {
			t.Errorf("counted %d bytes in", x)
		}
		if _, x := b.Bytes(); x != uint64(len(msg)) {
			t.Errorf("counted %d bytes out", x)
		}
	})
	_ = in.Close()
	_ = out.Close()
	h.do(func() { a.Close(CloseNow) }) // it has only half-closed
	<-src.closed
	<-dst.closed
}

// TestSpliceToTheDead: bytes that are in the kernel when the destination goes are dropped, and
// the pipe with them.
func TestSpliceToTheDead(t *testing.T) {
	h := start(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	src := &forwarder{recorder: record()}
	dst := record()
	var a, b *Conn
	h.do(func() { a = Dial(h.Loop, address(ln), DialOptions{}, src) })
	in, _ := ln.Accept()
	h.do(func() { b = Dial(h.Loop, address(ln), DialOptions{}, dst); src.to = b })
	out, _ := ln.Accept()
	<-src.connected
	<-dst.connected
	h.do(func() { a.SpliceTo(b) })
	go func() {
		p := make([]byte, 1<<20)
		for {
			if _, err := in.Write(p); err != nil {
				return
			}
		}
	}()
	for stuck := false; !stuck; { // nobody reads out
		h.do(func() { stuck = b.pipe != nil && a.ReadPaused() })
	}
	h.do(func() { b.Close(CloseNow) })
	<-dst.closed
	_ = out.Close()
	h.do(func() { a.Close(CloseNow) })
	<-src.closed
	_ = in.Close()
}
