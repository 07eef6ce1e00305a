package server

import (
	"os"
	"runtime/debug"
	"time"
)

// How much the heap may grow between two collections, in percent of what is alive (runtime/debug.SetGCPercent).
// A sidecar's live heap is 7 MB and the request path allocates nothing, so collections stay rare at gcPercent, and
// what a higher value would save in them is less than what it costs in resident memory. That turns where a proxy
// does allocate without end: a TLS handshake takes 50 kB, and the collector is a sixth of its cost at gcPercent.
const (
	gcPercent     = 25
	gcPercentBusy = 100
	// gcPercentParsing is for parsing a configuration: little of what a parser makes is garbage before it has ended. What is
	// made of its result comes at gcPercent: in a heap with room it would lie scattered, and keep 7 MB more.
	gcPercentParsing = 400

	// paceWindow is how long collections are counted. From busyCollections in it they take some 3 % of a core. At
	// gcPercentBusy a quarter as many come; none in paceCalm says that the load has halved.
	paceWindow      = 500 * time.Millisecond
	paceCalm        = time.Second
	busyCollections = 4
)

// ownCollector reports whether the environment leaves the collector's pace to the proxy.
func ownCollector() bool { return os.Getenv("GOGC") == "" }

// pace chooses the collector's percentage by how often it ran.
type pace struct {
	busy   bool
	began  time.Time // of the window
	cycles uint64    // collections until then
}

// next takes the number of collections so far. It reports whether the percentage changes, and to what.
func (p *pace) next(now time.Time, cycles uint64) (percent int, changed bool) {
	passed, ran := now.Sub(p.began), cycles-p.cycles
	switch {
	case p.busy && ran > 0, !p.busy && passed >= paceWindow && ran < busyCollections:
		p.began, p.cycles = now, cycles
	case p.busy && passed >= paceCalm:
		*p = pace{began: now, cycles: cycles}
		return gcPercent, true
	case !p.busy && passed >= paceWindow:
		*p = pace{busy: true, began: now, cycles: cycles}
		return gcPercentBusy, true
	}
	return 0, false
}

// Parsing lets the heap grow while a configuration is parsed; the function that it returns ends that. A
// bootstrap of 1,000 services takes a sixth less time by it.
func (f *Footprint) Parsing() (done func()) {
	if f == nil || !ownCollector() {
		return func() {}
	}
	before := debug.SetGCPercent(gcPercentParsing)
	return func() { debug.SetGCPercent(before) }
}
