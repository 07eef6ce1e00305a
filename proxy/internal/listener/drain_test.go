package listener

import (
	"crypto/tls"
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
	l.Close(0, nil)
}

// TestDrainEarly: connections that have no handler yet when they are asked to end, because they are
// looked at or shake hands, end when they get it, not when the time is over.
func TestDrainEarly(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  xdsresource.Listener
		up   func(net.Conn) net.Conn
	}{
		{"in a handshake", xdsresource.Listener{FilterChains: []*xdsresource.FilterChain{{Name: "a", TLS: certificate(t, "a.test")}}}, func(nc net.Conn) net.Conn {
			return tls.Client(nc, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true})
		}},
		{"inspected", xdsresource.Listener{TLSInspector: true, FilterChains: []*xdsresource.FilterChain{{Name: "a"}}}, func(nc net.Conn) net.Conn {
			_, _ = nc.Write([]byte("hello\n"))
			return nc
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1)
			l, addr := w.listener(&tt.cfg)
			nc := dial(t, "tcp", addr)
			for end := time.Now().Add(10 * time.Second); w.stat("downstream_cx_total") != "1"; {
				if time.Now().After(end) {
					t.Fatal("the connection was not accepted")
				}
			}
			l.Drain(time.Hour, true)
			w.settle()
			nc = tt.up(nc)
			for _, want := range []string{"a", "draining"} {
				if got := greet(t, nc); got != want {
					t.Errorf("the connection got %q, not %q", got, want)
				}
			}
		})
	}
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
	l.Close(0, nil)
}
