package cluster

import "time"

// merge holds changes of a cluster back that follow one another too closely (update_merge_window):
// each makes all workers sort all hosts anew. It is of use where many hosts change health or
// weight one by one. Under Manager.mu.
type merge struct {
	last    time.Time   // when the last change took effect; zero: a new configuration's will at once
	pending *time.Timer // nil: no change waits
}

// change has the workers see a change of the cluster's hosts. One that no host has come or gone
// by is mergeable: it waits when the last change took effect less than the window ago, for a
// window. One that is not takes along what waits.
func (m *Manager) change(c *Cluster, mergeable bool) {
	window := c.cfg.MergeWindow
	now := time.Now()
	switch inside := window > 0 && now.Sub(c.merge.last) <= window; {
	case !mergeable || !inside:
		if c.merge.stop() {
			m.cfg.Stats.Main().Inc(m.merges.cancelled)
		}
		if mergeable && window > 0 {
			m.cfg.Stats.Main().Inc(m.merges.outside)
		}
		c.merge.last = now
		m.cfg.Stats.Main().Inc(m.merges.updated)
		m.publish(c)
	case c.merge.pending == nil:
		var t *time.Timer
		t = time.AfterFunc(window, func() {
			m.queue.put(func() {
				m.mu.Lock()
				defer m.mu.Unlock()
				if c.merge.pending == t { // else another change has taken it along
					c.merge = merge{last: time.Now()}
					m.cfg.Stats.Main().Inc(m.merges.merged)
					m.publish(c)
				}
			})
		})
		c.merge.pending = t
	}
}

// stop forgets a change that waits, and reports whether there was one.
func (g *merge) stop() bool {
	if g.pending == nil {
		return false
	}
	g.pending.Stop()
	g.pending = nil
	return true
}

// end is stop for a cluster that goes, or gets a new configuration, which takes effect at once.
func (g *merge) end() {
	g.stop()
	g.last = time.Time{}
}
