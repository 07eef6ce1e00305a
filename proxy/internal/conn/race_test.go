package conn

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestRace: of several addresses the first that connects is taken; one that fails is not waited
// for, one that says nothing only for a while.
func TestRace(t *testing.T) {
	h := start(t)
	accepted := make(chan struct{}, 100)
	ln := h.serve(t, "tcp4", nil, func() *recorder { accepted <- struct{}{}; return record() })
	ln6 := h.serve(t, "tcp6", nil, record)
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	good, good6, dead, silent := address(ln), address(ln6), address(closed), h.silent(t)
	_ = closed.Close()
	unbindable := xdsresource.Address{Host: "unresolved"}
	for _, tc := range []struct {
		name  string
		addrs []xdsresource.Address
		want  xdsresource.Address
		least time.Duration
		most  time.Duration
	}{
		{"the first", []xdsresource.Address{good, good6}, good, 0, attemptDelay},
		{"refused", []xdsresource.Address{dead, good}, good, 0, attemptDelay},
		{"cannot be tried", []xdsresource.Address{unbindable, dead, unbindable, good6}, good6, 0, attemptDelay},
		{"silent", []xdsresource.Address{silent, good}, good, attemptDelay, 2 * attemptDelay},
		{"silent, then refused", []xdsresource.Address{silent, dead, good6}, good6, attemptDelay, 2 * attemptDelay},
		{"silent twice", []xdsresource.Address{silent, silent, good}, good, 2 * attemptDelay, 4 * attemptDelay},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := record()
			began := time.Now()
			h.do(func() { Dial(h.Loop, tc.addrs[0], DialOptions{Addresses: tc.addrs, Timeout: 10 * time.Second}, r) })
			c := <-r.connected
			if d := time.Since(began); d < tc.least-2*time.Millisecond || d > tc.most {
				t.Errorf("took %v, want %v to %v", d, tc.least, tc.most)
			}
			h.do(func() {
				if got := c.Info().RemoteAddr; got.Addr() != tc.want.IP || got.Port() != tc.want.Port {
					t.Errorf("connected to %v, want %v", got, tc.want)
				}
				c.Close(CloseNow)
			})
			<-r.closed
		})
	}
	if n := len(accepted); n != 4 {
		t.Errorf("%d connections reached the address, want 4: one that is not needed is not made", n)
	}
}

func TestRaceLost(t *testing.T) {
	h := start(t)
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead, silent := address(closed), h.silent(t)
	_ = closed.Close()
	r := record()
	h.do(func() { Dial(h.Loop, dead, DialOptions{Addresses: []xdsresource.Address{dead, dead}}, r) })
	if err := <-r.closed; !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("all refuse: %v", err)
	}
	// The time-out is one for all attempts; and whoever gives up leaves none behind (the
	// harness counts descriptors).
	h.do(func() {
		Dial(h.Loop, silent, DialOptions{Addresses: []xdsresource.Address{silent, silent, silent}, Timeout: attemptDelay + 50*time.Millisecond}, r)
	})
	want(t, <-r.closed, ConnectTimeout)
	h.do(func() {
		Dial(h.Loop, silent, DialOptions{Addresses: []xdsresource.Address{silent, silent}}, r).Close(CloseNow)
	})
	if err := <-r.closed; err != nil {
		t.Errorf("our own close: %v", err)
	}
	h.do(func() { Dial(h.Loop, silent, DialOptions{Addresses: []xdsresource.Address{silent, silent}}, r) }) // the loop ends under it
}
