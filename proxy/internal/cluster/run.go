package cluster

import (
	"context"
	"sync"
	"time"
)

// queue is unbounded work from workers, which must never block. It stays short: a worker
// adds to it only when a host crosses a threshold.
type queue struct {
	mu   sync.Mutex
	work []func()
	wake chan struct{} // of capacity 1
}

func (q *queue) put(f func()) {
	q.mu.Lock()
	q.work = append(q.work, f)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) take() []func() {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.work
	q.work = nil
	return w
}

// Run resolves names and judges hosts until ctx ends; then it waits for what it started.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.mu.Lock()
	m.ctx = ctx
	for _, c := range m.clusters {
		if c.cancelDNS == nil {
			m.startDNS(c)
		}
		m.startChecks(c)
	}
	m.mu.Unlock()
	defer func() {
		cancel()
		m.mu.Lock()
		m.ctx = nil
		m.mu.Unlock()
		m.wg.Wait()
	}()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.queue.wake:
		case <-timer.C:
		}
		for _, f := range m.queue.take() {
			f()
		}
		now := time.Now()
		next := earlier(m.sweep(now), m.cleanAll(now))
		if next.IsZero() {
			next = now.Add(time.Hour) // a configuration that brings something to do wakes us
		}
		timer.Reset(next.Sub(now))
	}
}

// sweep ends the intervals of outlier detection that are due and returns when the next one is.
func (m *Manager) sweep(now time.Time) (next time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.clusters {
		if c.det == nil {
			c.nextSweep = time.Time{}
			continue
		}
		if !now.Before(c.nextSweep) {
			c.nextSweep = now.Add(c.det.cfg.Interval)
			if c.det.sweep(c.ordered, now) && c.endpoints != nil {
				m.change(c, true)
			}
			if !m.collectRates(c) {
				c.det.calm(c.ordered, now)
			}
		}
		next = earlier(next, c.nextSweep)
	}
	return next
}

// earlier is the earlier of two times, of which a zero one is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// onOutlier ejects a host that a worker reported, or marks it as degraded.
func (m *Manager) onOutlier(c *Cluster, h *Host, why cause) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.clusters[c.name] != c || c.det == nil || c.endpoints == nil || !contains(c.ordered, h) {
		return
	}
	if why == causeDegraded {
		if c.det.degrade(h, time.Now()) {
			m.log.Info("outlier detection found a host degraded", "cluster", c.name, "host", h.Name)
			m.change(c, true)
		}
		return
	}
	if c.det.onConsecutive(c.ordered, h, why, time.Now()) {
		m.log.Info("outlier detection ejected a host", "cluster", c.name, "host", h.Name, "times", h.ejections)
		m.change(c, true)
	}
}

func contains(hosts []*Host, h *Host) bool {
	for _, x := range hosts {
		if x == h {
			return true
		}
	}
	return false
}

// collectRates asks the workers for the results of the last interval and judges them when
// all have answered. It reports whether there is anybody to ask.
func (m *Manager) collectRates(c *Cluster) bool {
	var users []int
	for i := range m.locals {
		if c.used[i].Load() {
			users = append(users, i)
		}
	}
	var mu sync.Mutex
	all := make(map[*Host]rates)
	left := len(users)
	for _, i := range users {
		lm := m.locals[i]
		m.cfg.Workers[i].Post(func() {
			part := lm.takeRates(c)
			mu.Lock()
			defer mu.Unlock()
			for h, r := range part {
				sum := all[h]
				sum.add(r)
				all[h] = sum
			}
			if left--; left == 0 {
				m.queue.put(func() { m.onRates(c, all) })
			}
		})
	}
	return len(users) > 0
}

func (lm *LocalManager) takeRates(c *Cluster) map[*Host]rates {
	l := lm.byName[c.name]
	if l == nil || l.cluster != c {
		return nil
	}
	part := make(map[*Host]rates, len(l.hosts))
	for h, lh := range l.hosts {
		if lh.rates != (rates{}) {
			part[h], lh.rates = lh.rates, rates{}
		}
	}
	return part
}

func (m *Manager) onRates(c *Cluster, all map[*Host]rates) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.clusters[c.name] != c || c.det == nil || c.endpoints == nil {
		return
	}
	now := time.Now()
	if c.det.judge(c.ordered, all, now) {
		m.change(c, true)
	}
	c.det.calm(c.ordered, now)
}
