package conn

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestRace: of several addresses the first that connects is taken; one that fails is not waited
// for, one that says nothing only for a while. The clock stands but for the whiles.
func TestRace(t *testing.T) {
	var passed atomic.Int64
	h := startAt(t, func() time.Time { return time.Unix(0, passed.Load()) })
	pass := func(d time.Duration) {
		passed.Add(int64(d))
		h.do(func() {}) // the loop looks at the clock after what was posted,
		h.do(func() {}) // and has done by now what was due
	}
	ln, ln6, closed := listen(t, "tcp4"), listen(t, "tcp6"), listen(t, "tcp4")
	good, good6, dead, silent := address(ln), address(ln6), address(closed), start(t).silent(t)
	_ = closed.Close()
	unbindable := xdsresource.Address{Host: "unresolved"}
	for _, tc := range []struct {
		name     string
		addrs    []xdsresource.Address
		want     xdsresource.Address
		attempts []int // how many there have been at the end of each while
	}{
		{"the first", []xdsresource.Address{good, good6}, good, nil},
		{"refused", []xdsresource.Address{dead, good}, good, nil},
		{"cannot be tried", []xdsresource.Address{unbindable, dead, unbindable, good6}, good6, nil},
		{"silent", []xdsresource.Address{silent, good}, good, []int{1}},
		{"silent, then refused", []xdsresource.Address{silent, dead, good6}, good6, []int{1}},
		{"silent twice", []xdsresource.Address{silent, silent, good}, good, []int{1, 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := record()
			var c *Conn
			h.do(func() {
				c = Dial(h.Loop, tc.addrs[0], DialOptions{Addresses: tc.addrs, Timeout: 10 * time.Second}, r)
			})
			const tick = time.Millisecond // of the loop's timers
			for _, want := range tc.attempts {
				pass(attemptDelay - tick)
				h.do(func() {
					if got := c.Info().Attempts; got != want {
						t.Errorf("%d attempts, want %d until %v are over", got, want, attemptDelay)
					}
				})
				pass(2 * tick)
			}
			<-r.connected
			h.do(func() {
				if got := c.Info().RemoteAddr; got.Addr() != tc.want.IP || got.Port() != tc.want.Port {
					t.Errorf("connected to %v, want %v", got, tc.want)
				}
				c.Close(CloseNow)
			})
			<-r.closed
		})
	}
	// The system queues connections in the order in which they came.
	marker, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer marker.Close()
	for n := 0; ; n++ {
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.Close()
		if nc.RemoteAddr().String() == marker.LocalAddr().String() {
			if n != 4 {
				t.Errorf("%d connections reached the address, want 4: one that is not needed is not made", n)
			}
			return
		}
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
