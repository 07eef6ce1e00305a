package eventloop

import (
	"math/bits"
	"time"
)

// The wheel has seven levels of 64 slots. A slot of level 0 is one tick of 1 ms; a slot of
// each further level spans the whole level below. 64^7 ms is 139 years.
const (
	wheelLevels = 7
	slotBits    = 6
	wheelSlots  = 1 << slotBits
	slotMask    = wheelSlots - 1
	maxTick     = 1<<(wheelLevels*slotBits) - 1
)

// Timer calls a function once, on the loop, when its time has come. It is embedded in its
// owner; arming, moving and disarming allocate nothing.
type Timer struct {
	fn         func()
	next, prev *Timer // in a slot's ring
	at         uint64 // tick at which it is due
	in         uint64 // tick of the slot it sits in; at most at
	level      uint8
	slot       uint8
}

// Init sets the function.
func (t *Timer) Init(fn func()) { t.fn = fn }

// Armed reports whether the timer is going to fire.
func (t *Timer) Armed() bool { return t.next != nil }

// Arm makes t fire once after d, rounded up to the next millisecond; d <= 0 fires within a
// millisecond, never inside the call. An armed timer is moved. Moving a timer to a later time is almost free: it
// stays in its slot and is looked at again when that comes up, which is what idle timeouts
// need, moved with every message and almost never fired.
func (l *Loop) Arm(t *Timer, d time.Duration) {
	at := uint64(max(l.now+int64(d), l.now)+int64(time.Millisecond)-1) / uint64(time.Millisecond)
	l.wheel.arm(t, max(at, 1))
}

// Disarm stops t. A timer that is not armed is left alone.
func (l *Loop) Disarm(t *Timer) { l.wheel.disarm(t) }

type wheel struct {
	cur   uint64 // every timer due at or before this tick has fired
	slots [wheelLevels][wheelSlots]Timer
	used  [wheelLevels]uint64 // bit per non-empty slot
	count int
}

func (w *wheel) init() {
	for l := range w.slots {
		for s := range w.slots[l] {
			h := &w.slots[l][s]
			h.next, h.prev = h, h
		}
	}
}

func (w *wheel) arm(t *Timer, at uint64) {
	if t.next != nil {
		if at >= t.in {
			t.at = at // lazily: its slot comes up no later
			return
		}
		w.unlink(t)
	}
	t.at = at
	w.link(t)
}

func (w *wheel) disarm(t *Timer) {
	if t.next != nil {
		w.unlink(t)
	}
}

// link puts t in the slot where it waits: at the level of the highest bit in which the due
// and the current tick differ. So within a level every used slot lies ahead of the current one.
func (w *wheel) link(t *Timer) {
	at := min(max(t.at, w.cur+1), maxTick)
	level := (bits.Len64(at^w.cur) - 1) / slotBits
	shift := uint(level * slotBits)
	s := (at >> shift) & slotMask
	t.level, t.slot = uint8(level), uint8(s)
	t.in = at >> shift << shift
	h := &w.slots[level][s]
	t.prev, t.next = h.prev, h
	h.prev.next = t
	h.prev = t
	w.used[level] |= 1 << s
	w.count++
}

func (w *wheel) unlink(t *Timer) {
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
	h := &w.slots[t.level][t.slot]
	if h.next == h {
		w.used[t.level] &^= 1 << t.slot
	}
	w.count--
}

// next returns a tick no later than the first at which a timer is due, and false when there
// is no timer.
func (w *wheel) next() (uint64, bool) {
	if w.count == 0 {
		return 0, false
	}
	for l := range wheelLevels {
		if w.used[l] != 0 {
			// The lowest used level comes up first: all of it lies within one slot of the
			// level above.
			shift := uint(l * slotBits)
			s := uint64(bits.TrailingZeros64(w.used[l]))
			return (w.cur>>shift&^slotMask | s) << shift, true
		}
	}
	return 0, false
}

// advance fires everything due up to and including tick now.
func (w *wheel) advance(now uint64) {
	for w.count > 0 {
		next, _ := w.next()
		if next > now {
			break
		}
		w.cur = next
		w.expire()
	}
	w.cur = max(w.cur, now)
}

// expire empties the slots that begin at the current tick: from the top, because what moves
// down may be due now.
func (w *wheel) expire() {
	for l := wheelLevels - 1; l >= 0; l-- {
		shift := uint(l * slotBits)
		if w.cur&(1<<shift-1) != 0 {
			continue
		}
		h := &w.slots[l][(w.cur>>shift)&slotMask]
		for h.next != h {
			t := h.next
			w.unlink(t)
			if t.at > w.cur {
				w.link(t)
			} else {
				t.fn()
			}
		}
	}
}
