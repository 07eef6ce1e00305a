package watchdog

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// Config says how long a loop may take for a turn. The zero value is Envoy's default.
type Config struct {
	// Miss and MegaMiss are when a turn that lasts is counted. Default 200 ms and 1 s.
	Miss, MegaMiss time.Duration
	// Kill ends the process when a turn takes that long and up to KillJitter, drawn once, more; 0: never.
	Kill, KillJitter time.Duration
	// MultiKill ends it when Threshold percent of the loops, two at least, take that long; 0: never.
	MultiKill time.Duration
	Threshold float64
}

// Loop is what is watched.
type Loop interface {
	// Idle reports whether the loop waits for something to do.
	Idle() bool
	// Post has the loop run f in its next turn; false: it has ended.
	Post(f func()) bool
}

// Watch watches some loops.
type Watch struct {
	cfg   Config
	name  string
	main  stats.Main
	log   *slog.Logger
	kill  func(why string)
	group [2]stats.Counter // misses and mega-misses of all
	dogs  []*dog
	total time.Duration // Kill with its jitter
}

// dog is one loop's.
type dog struct {
	loop    Loop
	name    string
	counts  [2]stats.Counter
	asked   bool        // a function was posted that has not run when it was looked for last
	ran     atomic.Bool // it has
	since   time.Time   // when the loop was known to be well
	counted [2]bool     // this turn is
}

// New prepares to watch loops by name. Statistics are "server.<name>.watchdog_miss" and "watchdog_mega_miss" of
// each, and "<group>." the same of all. kill must end the process.
func New(group string, cfg Config, st *stats.Store, log *slog.Logger, kill func(why string)) *Watch {
	if cfg.Miss == 0 {
		cfg.Miss = 200 * time.Millisecond
	}
	if cfg.MegaMiss == 0 {
		cfg.MegaMiss = time.Second
	}
	w := &Watch{cfg: cfg, name: group, main: st.Main(), log: log, kill: kill, group: counters(st.Scope(group))}
	if cfg.Kill > 0 {
		w.total = cfg.Kill
		if cfg.KillJitter > 0 {
			w.total += rand.N(cfg.KillJitter)
		}
	}
	return w
}

func counters(sc stats.Scope) [2]stats.Counter {
	return [2]stats.Counter{sc.Counter("watchdog_miss"), sc.Counter("watchdog_mega_miss")}
}

// Add takes a loop in, before Run.
func (w *Watch) Add(name string, l Loop, st *stats.Store) {
	w.dogs = append(w.dogs, &dog{loop: l, name: name, counts: counters(st.Scope("server").Scope(name))})
}

// Interval is how often the loops are looked at: the shortest of the times.
func (w *Watch) Interval() time.Duration {
	shortest := min(w.cfg.Miss, w.cfg.MegaMiss)
	for _, d := range []time.Duration{w.cfg.Kill, w.cfg.MultiKill} {
		if d > 0 {
			shortest = min(shortest, d)
		}
	}
	return max(shortest, time.Millisecond)
}

// Run looks until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(w.Interval())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.look(time.Now())
		}
	}
}

// look looks at each loop once.
func (w *Watch) look(now time.Time) {
	var stuck []string // for as long as MultiKill
	for _, d := range w.dogs {
		age := d.age(now)
		for i, limit := range [2]time.Duration{w.cfg.Miss, w.cfg.MegaMiss} {
			if age < limit {
				d.counted[i] = false
			} else if !d.counted[i] {
				d.counted[i] = true
				w.main.Inc(d.counts[i])
				w.main.Inc(w.group[i])
				if i == 1 {
					w.log.Warn("a loop does not turn", "loop", d.name, "for", age)
				}
			}
		}
		if w.total > 0 && age >= w.total {
			w.kill(fmt.Sprintf("%s has not turned for %v, and kill_timeout is %v", d.name, age, w.cfg.Kill))
		}
		if w.cfg.MultiKill > 0 && age >= w.cfg.MultiKill {
			stuck = append(stuck, d.name)
		}
	}
	if len(stuck) > 0 && len(stuck) >= w.tooMany() {
		slices.Sort(stuck)
		w.kill(fmt.Sprintf("%s have not turned for %v (multikill_timeout)", strings.Join(stuck, ", "), w.cfg.MultiKill))
	}
}

// tooMany is how many stuck loops end the process, as in Envoy: never one alone.
func (w *Watch) tooMany() int {
	share := w.cfg.Threshold / 100 * float64(len(w.dogs))
	n := int(share)
	if float64(n) < share {
		n++
	}
	return max(n, 2)
}

// age is how long the loop's turn has taken at least, 0 when it is well.
func (d *dog) age(now time.Time) time.Duration {
	switch {
	case d.loop.Idle():
		d.since = now
		return 0
	case d.asked && !d.ran.Load():
		return now.Sub(d.since)
	}
	d.ran.Store(false)
	d.since, d.asked = now, d.loop.Post(func() { d.ran.Store(true) })
	return 0
}
