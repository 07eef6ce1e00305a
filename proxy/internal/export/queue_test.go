package export

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestQueue(t *testing.T) {
	q := NewQueue[int](2, 4, 100)
	for i := range 3 {
		q.Add(0, i, 10)
	}
	q.Add(1, 7, 99)
	select {
	case <-q.Full():
		t.Error("woken before there was enough")
	default:
	}
	q.Add(1, 8, 1)
	select {
	case <-q.Full():
	default:
		t.Error("not woken")
	}
	items, dropped := q.Take()
	if len(items) != 4 || dropped != 1 { // two of each worker; the third of the first went
		t.Errorf("items %v, dropped %d", items, dropped)
	}
	if items, dropped := q.Take(); len(items) != 0 || dropped != 0 {
		t.Error("taken twice")
	}
}

// TestQueueBytes: large records fill the queue as many do, and wake the reader however much it was
// told to wait for.
func TestQueueBytes(t *testing.T) {
	q := NewQueue[int](2, 1000, 1<<30)
	for i := range 100 {
		q.Add(0, i, 100<<10)
	}
	q.Add(1, 7, 64<<20) // alone it may be of any size
	select {
	case <-q.Full():
	default:
		t.Error("not woken")
	}
	if items, dropped := q.Take(); len(items) != 16 || dropped != 85 {
		t.Errorf("%d items, %d dropped", len(items), dropped)
	}
}

// flaky fails while told to.
type flaky struct {
	mu   sync.Mutex
	fail bool
	got  chan []int
}

func (f *flaky) Send(_ context.Context, batch []int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail {
		return errors.New("away")
	}
	f.got <- batch
	return nil
}

func (f *flaky) Close() { close(f.got) }

func TestRun(t *testing.T) {
	q := NewQueue[int](1, 100, 1000)
	s := &flaky{fail: true, got: make(chan []int, 8)}
	written, dropped := make(chan uint64, 8), make(chan uint64, 8)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Run(ctx, q, s, Config{
			Interval: time.Millisecond, Log: slog.New(slog.DiscardHandler), What: "test",
			Written: func(n uint64) { written <- n }, Dropped: func(n uint64) { dropped <- n },
		})
	}()
	q.Add(0, 1, 1)
	if n := <-dropped; n != 1 {
		t.Errorf("dropped %d", n)
	}
	s.mu.Lock()
	s.fail = false
	s.mu.Unlock()
	q.Add(0, 2, 1)
	if b := <-s.got; len(b) != 1 || b[0] != 2 {
		t.Errorf("batch %v", b)
	}
	if n := <-written; n != 1 {
		t.Errorf("written %d", n)
	}
	cancel()
	<-done
	if _, open := <-s.got; open {
		t.Error("the sender was not closed")
	}
}

// TestRunFlushesAtTheEnd: what is queued when the process ends still goes.
func TestRunFlushesAtTheEnd(t *testing.T) {
	q := NewQueue[int](1, 100, 1000)
	s := &flaky{got: make(chan []int, 8)}
	ctx, cancel := context.WithCancel(t.Context())
	q.Add(0, 3, 1)
	cancel()
	Run(ctx, q, s, Config{Interval: time.Hour, Log: slog.New(slog.DiscardHandler), Written: func(uint64) {}, Dropped: func(uint64) {}})
	if b := <-s.got; len(b) != 1 || b[0] != 3 {
		t.Errorf("batch %v", b)
	}
}

// keeper keeps what it could not send, and counts itself.
type keeper struct {
	kept  []int
	calls chan int
	away  bool
}

func (k *keeper) Send(_ context.Context, batch []int) error {
	k.kept = append(k.kept, batch...)
	k.calls <- len(k.kept)
	if k.away {
		k.away = false
		return errors.New("away")
	}
	k.kept = nil
	return nil
}

func (k *keeper) Close() { close(k.calls) }

// TestRunKeeps: a sender that keeps records is asked again although nothing new has come, and nobody else counts them.
func TestRunKeeps(t *testing.T) {
	q := NewQueue[int](1, 1, 1000)
	k := &keeper{away: true, calls: make(chan int, 8)}
	dropped := make(chan uint64, 8)
	q.Add(0, 1, 1)
	q.Add(0, 2, 1) // the queue is full
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Run(ctx, q, k, Config{Interval: time.Millisecond, Keeps: true, Log: slog.New(slog.DiscardHandler), Dropped: func(n uint64) { dropped <- n }})
	}()
	for range 2 { // it fails, then goes with nothing new
		if n := <-k.calls; n != 1 {
			t.Errorf("asked to send %d", n)
		}
	}
	cancel()
	for range k.calls { // until it is closed
	}
	<-done
	if n := <-dropped; n != 1 || len(dropped) != 0 {
		t.Errorf("dropped %d, and %d more times", n, len(dropped))
	}
}
