package cluster

import (
	"cmp"
	"context"
	"slices"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Status is a cluster as the admin interface shows it.
type Status struct {
	Name   string
	Config *xdsresource.Cluster
	// Warm is false until the first endpoints have come.
	Warm  bool
	Hosts []HostStatus
	// Outlier is what outlier detection found in its last interval; nil: it is off.
	Outlier *OutlierStatus
}

// OutlierStatus are the success rates of a cluster's hosts: their average, and below which
// hosts are ejected, in percent; -1: there were too few. The second of each is of local origin.
type OutlierStatus struct{ Average, Threshold [2]float64 }

// HostStatus is a host with its statistics, summed over all workers.
type HostStatus struct {
	Host *Host
	HostInfo
	// SuccessRate is of the last interval of outlier detection in percent, -1 when there were
	// too few requests.
	SuccessRate, LocalOriginSuccessRate float64
	Flags                               []string // what is wrong with it, see Host.HealthFlags
	Stats                               HostStats
}

// Status returns all clusters by name. It asks every worker for its hosts' statistics, on
// its loop, and returns ctx's error when one does not answer.
func (m *Manager) Status(ctx context.Context) ([]Status, error) {
	sums, err := m.hostStats(ctx)
	if err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]Status, 0, len(m.clusters))
	for _, c := range m.clusters {
		s := Status{Name: c.name, Config: c.cfg, Warm: c.isWarm}
		if c.det != nil {
			s.Outlier = &OutlierStatus{c.det.average, c.det.threshold}
		}
		for _, h := range c.ordered {
			s.Hosts = append(s.Hosts, status(h, sums[h]))
		}
		for h, st := range sums {
			if h.dynamic == c {
				s.Hosts = append(s.Hosts, status(h, st))
			}
		}
		slices.SortStableFunc(s.Hosts, func(a, b HostStatus) int { return cmp.Compare(a.Priority, b.Priority) })
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func status(h *Host, s HostStats) HostStatus {
	out := HostStatus{Host: h, HostInfo: *h.Info(), Flags: h.HealthFlags(), Stats: s, SuccessRate: -1, LocalOriginSuccessRate: -1}
	if h.history != nil {
		out.SuccessRate, out.LocalOriginSuccessRate = h.successRates[external], h.successRates[localOrigin]
	}
	return out
}

// hostStats collects the statistics of all hosts that workers know.
func (m *Manager) hostStats(ctx context.Context) (map[*Host]HostStats, error) {
	type part map[*Host]HostStats
	parts := make(chan part, len(m.locals))
	for i, lm := range m.locals {
		read := func() {
			p := make(part)
			for _, l := range lm.byName {
				for h, lh := range l.hosts {
					p[h] = lh.Stats
				}
				if l.dst != nil {
					for _, d := range l.dst.hosts {
						p[d.Host] = d.Stats
					}
				}
			}
			parts <- p
		}
		if !m.cfg.Workers[i].Post(read) {
			read() // the worker has stopped
		}
	}
	sums := make(map[*Host]HostStats)
	for range m.locals {
		select {
		case p := <-parts:
			for h, s := range p {
				sum := sums[h]
				sum.add(&s)
				sums[h] = sum
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return sums, nil
}
