package cluster

import (
	"sync/atomic"
	"time"
)

// window counts the requests that began in the last interval, on all workers, for a retry budget with budget_interval. It counts in slots of a
// sixteenth of the interval, so that what it forgets may be that much too young.
type window struct {
	grain int64 // of a slot, ns
	slots [windowSlots]windowSlot
}

const windowSlots = 16

// windowSlot is what began in one stretch of time, which its number tells; slots are used again for later ones.
type windowSlot struct{ stretch, began atomic.Int64 }

func newWindow(interval time.Duration) *window {
	return &window{grain: max(int64(interval)/windowSlots, 1)}
}

// add counts a request that begins now, in ns.
func (w *window) add(now int64) {
	n := now / w.grain
	s := &w.slots[n%windowSlots]
	if old := s.stretch.Load(); old < n && s.stretch.CompareAndSwap(old, n) {
		s.began.Store(0) // what another worker adds meanwhile is lost: a few of many
	}
	s.began.Add(1)
}

// count is how many began in the interval before now.
func (w *window) count(now int64) int64 {
	n, total := now/w.grain, int64(0)
	for i := range w.slots {
		if s := &w.slots[i]; s.stretch.Load() > n-windowSlots {
			total += s.began.Load()
		}
	}
	return total
}
