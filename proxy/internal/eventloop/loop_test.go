package eventloop

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a loop for the time of the test.
func start(t *testing.T) *Loop {
	t.Helper()
	before := openFDs(t)
	l, err := New(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if after := openFDs(t); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
	return l
}

func openFDs(t *testing.T) int {
	t.Helper()
	e, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}

// TestKeepsP: of as many workers as there are Ps, or more, not all keep theirs.
func TestKeepsP(t *testing.T) {
	for _, tt := range []struct{ id, procs int }{{0, 1}, {1, 2}, {3, 2}, {7, 8}} {
		if keepsP(tt.id, tt.procs) {
			t.Errorf("worker %d keeps its P of %d", tt.id, tt.procs)
		}
	}
	for _, tt := range []struct{ id, procs int }{{0, 2}, {1, 3}, {6, 8}} {
		if !keepsP(tt.id, tt.procs) {
			t.Errorf("worker %d gives up its P of %d", tt.id, tt.procs)
		}
	}
}

func TestPostRunsInOrder(t *testing.T) {
	l := start(t)
	for round := range 3 {
		if round == 2 {
			// By now the loop is in the scheduler-aware wait.
			<-time.After(2 * rawIdle)
		}
		var got []int
		done := make(chan struct{})
		for i := range 1000 {
			l.Post(func() { got = append(got, i) })
		}
		l.Post(func() { close(done) })
		<-done
		for i, v := range got {
			if i != v {
				t.Fatalf("got %d at %d", v, i)
			}
		}
		if len(got) != 1000 {
			t.Fatalf("%d ran", len(got))
		}
	}
}

func TestPostFromLoop(t *testing.T) {
	l := start(t)
	done := make(chan struct{})
	n := 0
	var again func()
	again = func() {
		if n++; n == 100 {
			close(done)
			return
		}
		l.Post(again)
	}
	l.Post(again)
	<-done
}

func TestTimersFire(t *testing.T) {
	l := start(t)
	done := make(chan time.Duration)
	var tm Timer
	begin := time.Now()
	l.Post(func() {
		tm.Init(func() { done <- time.Since(begin) })
		l.Arm(&tm, 120*time.Millisecond)
		l.Arm(&tm, 20*time.Millisecond)
	})
	if d := <-done; d < 20*time.Millisecond {
		t.Fatalf("fired after %v", d)
	}
	begin = time.Now()
	l.Post(func() {
		l.Arm(&tm, 20*time.Millisecond)
		l.Arm(&tm, 120*time.Millisecond)
	})
	if d := <-done; d < 120*time.Millisecond {
		t.Fatalf("a moved timer fired after %v", d)
	}
}

type deferTest struct {
	d    Deferred
	runs int
	f    func()
}

func (d *deferTest) RunDeferred() { d.runs++; d.f() }

func TestDeferredRunsOnce(t *testing.T) {
	l := start(t)
	done := make(chan struct{})
	x := &deferTest{f: func() { close(done) }}
	x.d.Init(x)
	l.Post(func() { l.Defer(&x.d); l.Defer(&x.d) })
	<-done
	l.Post(func() {})
	if x.runs != 1 {
		t.Fatalf("ran %d times", x.runs)
	}
}

// pipeEnd counts events and, when told to, reads.
type pipeEnd struct {
	fd     FD
	loop   *Loop
	sys    int
	got    chan Events
	onData func(Events)
}

func (p *pipeEnd) OnEvent(e Events) { p.onData(e) }

func TestInterestAndStop(t *testing.T) {
	before := openFDs(t)
	l, err := New(3, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l.ID() != 3 {
		t.Fatal(l.ID())
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_NONBLOCK|syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	p := &pipeEnd{loop: l, sys: fds[0], got: make(chan Events, 100)}
	paused := false
	buf := make([]byte, 16)
	p.onData = func(e Events) {
		if e == EventStop {
			l.Forget(&p.fd)
			_ = syscall.Close(fds[0])
			p.got <- e
			return
		}
		if paused {
			t.Error("event while paused")
		}
		_, _ = syscall.Read(p.sys, buf)
		p.got <- e
	}
	reply := make(chan error)
	l.Post(func() { reply <- l.Register(&p.fd, p.sys, EventIn, p) })
	if err := <-reply; err != nil {
		t.Fatal(err)
	}
	write := func() {
		if _, err := syscall.Write(fds[1], []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if e := <-p.got; e != EventIn {
		t.Fatalf("got %v", e)
	}
	l.Post(func() { paused = true; l.SetInterest(&p.fd, 0); reply <- nil })
	<-reply
	write()
	for range 5 { // the unwanted event comes, and only takes the interest away
		l.Post(func() { reply <- nil })
		<-reply
	}
	l.Post(func() { paused = false; l.SetInterest(&p.fd, EventIn) })
	if e := <-p.got; e != EventIn {
		t.Fatalf("got %v", e)
	}
	cancel()
	if e := <-p.got; e != EventStop {
		t.Fatalf("got %v", e)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if l.Post(func() { t.Error("ran after the end") }) {
		t.Error("posted after the end")
	}
	_ = syscall.Close(fds[1])
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestStaleEventIsDropped(t *testing.T) {
	l, err := New(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var a, b [2]int
	for _, p := range []*[2]int{&a, &b} {
		if err := syscall.Pipe2(p[:], syscall.O_NONBLOCK|syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(p[0])
		defer syscall.Close(p[1])
	}
	old := &pipeEnd{onData: func(Events) { t.Error("the old owner got an event") }}
	calls := 0
	successor := &pipeEnd{onData: func(Events) { calls++ }}
	if err := l.Register(&old.fd, a[0], EventIn, old); err != nil {
		t.Fatal(err)
	}
	_, _ = syscall.Write(a[1], []byte("x"))
	n, err := l.wait()
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	// In the same batch the old owner goes and a new one gets its slot.
	l.Unregister(&old.fd)
	if err := l.Register(&successor.fd, b[0], EventIn, successor); err != nil {
		t.Fatal(err)
	}
	l.dispatch(n)
	if calls != 0 {
		t.Error("the successor got its predecessor's event")
	}
}
