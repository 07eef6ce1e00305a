package dnscache

import (
	"net/netip"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// Outcome is what came of asking for a name.
type Outcome uint8

const (
	// Resolved: the name has an address.
	Resolved Outcome = iota
	// Failed: it has none, or none could be found out.
	Failed
	// Full: there are as many names as there may be.
	Full
	// Busy: as many requests wait as may.
	Busy
)

// Answer is what a request is told of a name.
type Answer struct {
	Outcome Outcome
	Address netip.AddrPort // of Resolved: the first of its addresses
	Details string         // of Failed: why, in one word
}

// Local is one worker's view of a cache: what it knows of names, and who waits for them there. Its methods are for that worker.
type Local struct {
	c       *Cache
	loop    Loop
	shard   *stats.Shard
	known   map[string]*known
	waiting map[string]map[*waiter]struct{}
	name    []byte // room for one
}

// waiter is one request.
type waiter struct {
	name string
	done func(Answer)
}

// Load asks for the addresses of an authority (a host, and a port that else is the one given). cancel nil: the answer is there. Else
// done is called with it once, on the loop and not within Load, unless cancel is called before.
func (l *Local) Load(authority []byte, port uint16, done func(Answer)) (a Answer, cancel func()) {
	if l.c.pending.Load() >= int64(l.c.cfg.MaxPending) {
		l.shard.Inc(l.c.stats.Counter(pendingOverflow))
		return Answer{Outcome: Busy}, nil
	}
	var ok bool
	if l.name, ok = AppendName(l.name[:0], authority, port); !ok {
		return Answer{Outcome: Failed, Details: misformatted}, nil
	}
	k := l.known[string(l.name)]
	again := k != nil && len(k.addresses) == 0 && l.c.cfg.RetryOnDemand
	if k != nil && !again {
		return k.answer(), nil
	}
	w := &waiter{string(l.name), done}
	l.hold(1)
	others := l.waiting[w.name]
	if others == nil {
		others = map[*waiter]struct{}{}
		l.waiting[w.name] = others
		l.c.set.wg.Go(func() { l.c.load(w.name, l, again) })
	}
	others[w] = struct{}{}
	return Answer{}, func() {
		if _, waits := others[w]; waits {
			delete(others, w)
			l.hold(-1)
		}
	}
}

// hold counts requests that wait.
func (l *Local) hold(d int64) {
	n := l.c.pending.Add(d)
	l.shard.GaugeAdd(l.c.stats.Gauge(pendingRemaining), -d)
	if open := n >= int64(l.c.cfg.MaxPending); l.c.open.CompareAndSwap(!open, open) {
		if open {
			l.shard.GaugeAdd(l.c.stats.Gauge(pendingOpen), 1)
		} else {
			l.shard.GaugeAdd(l.c.stats.Gauge(pendingOpen), -1)
		}
	}
}

// Touch notes that a name is in use, and returns it as caches have it; nil when the worker does not know it. The result is good until the
// next call of a method.
func (l *Local) Touch(authority []byte, port uint16) []byte {
	var ok bool
	if l.name, ok = AppendName(l.name[:0], authority, port); !ok {
		return nil
	}
	k := l.known[string(l.name)]
	if k == nil {
		return nil
	}
	k.entry.used.Store(l.c.now())
	return l.name
}

// learn takes what has become of names, and answers who waits for them.
func (l *Local) learn(batch map[string]*known) {
	for name, k := range batch {
		if k != nil {
			l.known[name] = k
			l.answer(name, k.answer())
		}
	}
}

// forget drops names that are gone.
func (l *Local) forget(batch map[string]*known) {
	for name, k := range batch {
		if k == nil {
			delete(l.known, name)
		}
	}
}

// end tells all who wait that nothing will come of it.
func (l *Local) end() {
	for name := range l.waiting {
		l.answer(name, Answer{Outcome: Failed, Details: "cache_is_gone"})
	}
}

// answer tells all who wait for a name.
func (l *Local) answer(name string, a Answer) {
	waiting := l.waiting[name]
	delete(l.waiting, name)
	for w := range waiting {
		delete(waiting, w) // one that is told may end others
		l.hold(-1)
		w.done(a)
	}
}

func (k *known) answer() Answer {
	if len(k.addresses) == 0 {
		return Answer{Outcome: Failed, Details: k.details}
	}
	a := k.addresses[0]
	return Answer{Outcome: Resolved, Address: netip.AddrPortFrom(a.IP, a.Port)}
}
