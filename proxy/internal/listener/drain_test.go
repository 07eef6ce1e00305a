package listener

import (
	"net"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestGradualDrain holds that connections are asked over the time, not all at its start, and that
// all of them were asked before it ends.
func TestGradualDrain(t *testing.T) {
	w := newWorld(t, 1)
	w.o.DrainGradually = true
	l, addr := w.listener(&xdsresource.Listener{FilterChains: []*xdsresource.FilterChain{{Name: "a"}}})
	const n = 64
	const within = 400 * time.Millisecond
	var conns []net.Conn
	for range n {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		greet(t, nc)
		conns = append(conns, nc)
	}
	began := time.Now()
	l.Drain(within, false)
	asked := make(chan time.Duration, n)
	for _, nc := range conns {
		go func() {
			if got := greet(t, nc); got != "draining" {
				t.Errorf("a connection was cut: %s", got)
			}
			asked <- time.Since(began)
		}()
	}
	early := 0
	for range n {
		if at := <-asked; at < within/4 {
			early++
		}
	}
	if early == 0 || early > n*3/4 { // a third is expected
		t.Errorf("%d of %d connections were asked in the first quarter", early, n)
	}
	l.Close(0)
}

func TestDiscourage(t *testing.T) {
	w := newWorld(t, 1)
	l, addr := w.listener(&xdsresource.Listener{FilterChains: []*xdsresource.FilterChain{{Name: "a"}}})
	old, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	greet(t, old)
	l.Discourage(true)
	if got := greet(t, old); got != "draining" {
		t.Errorf("a connection that was there got %q", got)
	}
	fresh := func() string {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		greet(t, nc)
		_, _ = nc.Write([]byte("hello\n"))
		return greet(t, nc)
	}
	if got := fresh(); got != "draining" {
		t.Errorf("a new connection got %q", got)
	}
	l.Discourage(false)
	applied := make(chan struct{})
	w.loops[0].Post(func() { close(applied) })
	<-applied
	if got := fresh(); got != "hello" {
		t.Errorf("after it was taken back a connection got %q", got)
	}
	l.Close(0)
}
