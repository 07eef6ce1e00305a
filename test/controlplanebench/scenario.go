package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// result is what one change took.
type result struct {
	name                string
	proxies             int // that were sent something
	first, median, last time.Duration
	cpu                 time.Duration
	busy                time.Duration // until the server did nothing any more
	bytes, messages     int64
	resident            int64
}

// quietFor is how long nothing must have come until a change is over.
const quietFor = 700 * time.Millisecond

// measure makes a change and waits until the fleet and the server are quiet.
func measure(ctx context.Context, name string, s *server, f *fleet, limit time.Duration, change func() error) (result, error) {
	bytes, messages := f.totals()
	cpu := s.cpu()
	begin := time.Now()
	if err := change(); err != nil {
		return result{}, err
	}
	rested, err := quiet(ctx, s, f, begin, limit)
	if err != nil {
		return result{}, fmt.Errorf("%s: %w", name, err)
	}
	r := result{name: name, cpu: s.cpu() - cpu, busy: rested.Sub(begin), resident: s.resident()}
	b, m := f.totals()
	r.bytes, r.messages = b-bytes, m-messages
	if at := f.arrivals(begin); len(at) > 0 {
		r.proxies, r.first, r.median, r.last = len(at), at[0], at[len(at)/2], at[len(at)-1]
	}
	return r, nil
}

// quiet waits until all proxies are in sync, nothing has come for a while and the server is at rest, and returns since when.
func quiet(ctx context.Context, s *server, f *fleet, begin time.Time, limit time.Duration) (time.Time, error) {
	const step = 20 * time.Millisecond
	since, cpu := time.Now(), s.cpu()
	_, seen := f.totals()
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return since, ctx.Err()
		case <-tick.C:
		}
		if err := f.failure(); err != nil {
			return since, err
		}
		_, n := f.totals()
		used := s.cpu()
		if n != seen || !f.synced() || used-cpu > step/10 {
			since = time.Now()
		}
		seen, cpu = n, used
		if time.Since(since) > quietFor {
			return since, nil
		}
		if time.Since(begin) > limit {
			return since, errSlow
		}
	}
}

// run measures one size of mesh and fleet.
func run(ctx context.Context, o options, m *mesh, s *server, proxies, uses int) ([]result, error) {
	f, err := newFleet(s.grpc, proxies, o.sotw, m.services, uses)
	if err != nil {
		return nil, err
	}
	defer f.close()
	var out []result
	if out, err = step(out, "cold", 1, s, f, o, ctx, func(int) error { f.open(ctx); return nil }); err != nil {
		return nil, err
	}
	victim := m.services / 2 &^ 1 // one that has a virtual service
	for _, c := range []struct {
		name   string
		rounds int
		change func(round int) error
	}{
		{"endpoint", o.rounds, func(round int) error { return m.setService(victim, round) }},
		{"weight", o.rounds, func(round int) error { return m.setWeight(victim, 50+round) }},
		{"added", 1, func(int) error { return m.setService(m.services, 0) }},
		{"removed", 1, func(int) error { return m.removeService(m.services) }},
		{"patch", o.rounds, func(round int) error { return m.setPatch(victim, round) }},
		{"patch all", o.rounds, func(round int) error { return m.setPatch(-1, round) }},
		{"patch listener", o.rounds, m.setFilter},
		{"wildcard", o.rounds, m.setWildcard},
		{"wildcard rule", o.rounds, m.setWildcardRule},
		{"idle", 1, func(int) error { time.Sleep(idleTime); return nil }},
		{"reopened", 1, func(int) error { f.drop(); f.open(ctx); return nil }},
	} {
		if !slices.Contains(o.changes, c.name) {
			continue
		}
		if out, err = step(out, c.name, c.rounds, s, f, o, ctx, c.change); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// idleTime is how long nothing happens in the row "idle".
const idleTime = 10 * time.Second

// step measures a change, the fastest of some rounds, and appends the result.
func step(out []result, name string, rounds int, s *server, f *fleet, o options, ctx context.Context, change func(round int) error) ([]result, error) {
	var least result
	for round := 1; round <= rounds; round++ {
		r, err := measure(ctx, name, s, f, o.limit, func() error { return change(round) })
		if err != nil {
			return nil, err
		}
		if round == 1 || r.last < least.last {
			least = r
		}
	}
	return append(out, least), nil
}
