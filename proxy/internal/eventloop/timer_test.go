package eventloop

import (
	"math/rand/v2"
	"testing"
)

// TestWheelModel arms, moves and disarms timers at random and compares what fires, and when,
// with a plain map.
func TestWheelModel(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		var w wheel
		w.init()
		start := rnd.Uint64N(1 << 40)
		w.advance(start)
		const n = 50
		timers := make([]Timer, n)
		due := map[int]uint64{}
		now := start
		for i := range timers {
			timers[i].Init(func() {
				at, ok := due[i]
				if !ok {
					t.Fatalf("seed %d: timer %d fired unarmed at %d", seed, i, w.cur)
				}
				if w.cur < at {
					t.Fatalf("seed %d: timer %d fired at %d, due %d", seed, i, w.cur, at)
				}
				if w.cur > max(at, now+1) && w.cur != at {
					t.Fatalf("seed %d: timer %d fired late at %d, due %d", seed, i, w.cur, at)
				}
				delete(due, i)
				if rnd.IntN(4) == 0 { // rearm from within
					due[i] = max(w.cur+rnd.Uint64N(1<<rnd.IntN(20)), w.cur+1)
					w.arm(&timers[i], due[i])
				}
			})
		}
		for range 2000 {
			switch rnd.IntN(5) {
			case 0, 1, 2:
				i := rnd.IntN(n)
				at := now + 1 + rnd.Uint64N(1<<rnd.IntN(30))
				due[i] = at
				w.arm(&timers[i], at)
			case 3:
				i := rnd.IntN(n)
				delete(due, i)
				w.disarm(&timers[i])
			case 4:
				to := now + rnd.Uint64N(1<<rnd.IntN(24))
				if next, ok := w.next(); ok {
					for i, at := range due {
						if at < next {
							t.Fatalf("seed %d: next is %d but timer %d is due at %d", seed, next, i, at)
						}
					}
				} else if len(due) > 0 {
					t.Fatalf("seed %d: no next, but %d armed", seed, len(due))
				}
				w.advance(to)
				now = to
				for i, at := range due {
					if at <= now {
						t.Fatalf("seed %d: timer %d due %d has not fired at %d", seed, i, at, now)
					}
				}
			}
			for i := range timers {
				if _, ok := due[i]; ok != timers[i].Armed() {
					t.Fatalf("seed %d: timer %d armed %v, want %v", seed, i, timers[i].Armed(), ok)
				}
			}
		}
	}
}

func BenchmarkRearm(b *testing.B) {
	var w wheel
	w.init()
	var t Timer
	t.Init(func() {})
	at := uint64(1000)
	for b.Loop() {
		at++
		w.arm(&t, at)
	}
}
