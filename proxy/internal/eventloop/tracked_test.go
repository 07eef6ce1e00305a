package eventloop

import (
	"context"
	"math/rand/v2"
	"syscall"
	"testing"
)

// trackedReader reads from a tracked socket in pieces of a chosen size, and pauses now and then.
type trackedReader struct {
	l      *Loop
	fd     FD
	sys    int
	size   func() int
	pause  func() bool
	got    []byte
	calls  int
	idle   int // calls that found nothing
	ended  bool
	report func()
}

func (r *trackedReader) OnEvent(ev Events) {
	if ev&EventStop != 0 || ev&EventIn == 0 {
		return
	}
	r.calls++
	p := make([]byte, r.size())
	n, err := syscall.Read(r.sys, p)
	switch {
	case err == syscall.EAGAIN:
		r.idle++
		r.l.Exhausted(&r.fd, EventIn)
	case n == 0:
		r.ended = true
		r.l.SetInterest(&r.fd, 0)
	default:
		r.got = append(r.got, p[:n]...)
		if n < len(p) {
			r.l.ShortRead(&r.fd)
		}
		if r.pause() {
			r.l.SetInterest(&r.fd, 0)
			r.l.Post(func() { r.l.SetInterest(&r.fd, EventIn) })
		}
	}
	r.report()
}

// TestTrackedLosesNothing: whatever is read, and whenever the owner pauses, a tracked descriptor tells of all that comes and of the end.
func TestTrackedLosesNothing(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		l, stop := run(t)
		done := make(chan struct{})
		const total = 5000
		r := &trackedReader{l: l, sys: pair[0]}
		r.size = func() int { return 1 + rng.IntN(300) }
		r.pause = func() bool { return rng.IntN(3) == 0 }
		r.report = func() {
			if r.ended {
				close(done)
			}
		}
		l.Post(func() {
			if err := l.RegisterTracked(&r.fd, pair[0], EventIn, r); err != nil {
				t.Error(err)
			}
		})
		sent := 0
		writer := rand.New(rand.NewPCG(seed, 2))
		for sent < total {
			p := make([]byte, min(1+writer.IntN(400), total-sent))
			for i := range p {
				p[i] = byte(sent + i)
			}
			n, err := syscall.Write(pair[1], p)
			if err == nil {
				sent += n
			} else if err != syscall.EAGAIN {
				t.Fatal(err)
			}
		}
		if err := syscall.Shutdown(pair[1], syscall.SHUT_WR); err != nil {
			t.Fatal(err)
		}
		<-done
		stop()
		for i, b := range r.got {
			if b != byte(i) {
				t.Fatalf("seed %d: byte %d is %d", seed, i, b)
			}
		}
		if len(r.got) != total {
			t.Fatalf("seed %d: %d bytes of %d", seed, len(r.got), total)
		}
		_ = syscall.Close(pair[0])
		_ = syscall.Close(pair[1])
	}
}

// run is start for a loop that ends within the test.
func run(t *testing.T) (*Loop, func()) {
	t.Helper()
	l, err := New(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	return l, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestTrackedRest: nothing comes twice, and what was exhausted comes only when it is there again.
func TestTrackedRest(t *testing.T) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pair[0])
	defer syscall.Close(pair[1])
	l, stop := run(t)
	defer stop()
	events := make(chan struct{}, 100)
	r := &trackedReader{l: l, sys: pair[0], size: func() int { return 8 }, pause: func() bool { return false }}
	r.report = func() { events <- struct{}{} }
	post := func(fn func()) {
		t.Helper()
		ran := make(chan struct{})
		l.Post(func() { fn(); close(ran) })
		<-ran
	}
	post(func() {
		if err := l.RegisterTracked(&r.fd, pair[0], EventIn, r); err != nil {
			t.Error(err)
		}
	})
	write := func(n int) {
		t.Helper()
		if _, err := syscall.Write(pair[1], make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	write(3) // a short read: one event
	<-events
	write(16) // two full reads, and one that finds nothing
	<-events
	<-events
	<-events
	for range 20 {
		post(func() {}) // rounds of the loop in which nothing may come
	}
	post(func() {
		if r.calls != 4 || r.idle != 1 || len(r.got) != 19 {
			t.Errorf("%d calls, %d for nothing, %d bytes", r.calls, r.idle, len(r.got))
		}
	})
	// What comes while nobody listens is told of later, and writability only when it is asked for.
	post(func() { l.SetInterest(&r.fd, 0) })
	write(3)
	for range 20 {
		post(func() {})
	}
	post(func() {
		if r.calls != 4 {
			t.Error("told of what was not wanted")
		}
		l.SetInterest(&r.fd, EventIn)
	})
	<-events
	post(func() { l.Unregister(&r.fd) })
}

// TestTrackedWritable: a full socket becomes writable once, when the peer has read.
func TestTrackedWritable(t *testing.T) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pair[0])
	defer syscall.Close(pair[1])
	l, stop := run(t)
	defer stop()
	w := &trackedWriter{l: l, sys: pair[0], blocked: make(chan struct{}), done: make(chan struct{}), left: 4 << 20}
	l.Post(func() {
		if err := l.RegisterTracked(&w.fd, pair[0], EventOut, w); err != nil {
			t.Error(err)
		}
	})
	<-w.blocked
	read := 0
	p := make([]byte, 1<<16)
	for read < 4<<20 {
		n, err := syscall.Read(pair[1], p)
		if err == nil {
			read += n
		} else if err != syscall.EAGAIN {
			t.Fatal(err)
		}
	}
	<-w.done
}

type trackedWriter struct {
	l       *Loop
	fd      FD
	sys     int
	left    int
	blocked chan struct{} // closed when the socket is first full
	full    bool
	done    chan struct{}
}

func (w *trackedWriter) OnEvent(ev Events) {
	if ev&EventOut == 0 {
		return
	}
	n, err := syscall.Write(w.sys, make([]byte, min(w.left, 1<<16)))
	if err == syscall.EAGAIN {
		w.l.Exhausted(&w.fd, EventOut)
		if !w.full {
			w.full = true
			close(w.blocked)
		}
		return
	}
	if w.left -= n; w.left == 0 {
		w.l.SetInterest(&w.fd, 0)
		close(w.done)
	}
}
