package main

import (
	"context"
	"fmt"
	"time"
)

// result is what one change took.
type result struct {
	name                string
	proxies             int // that were sent something
	first, median, last time.Duration
	cpu                 time.Duration
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
	if err := quiet(ctx, f, begin, limit); err != nil {
		return result{}, fmt.Errorf("%s: %w", name, err)
	}
	r := result{name: name, cpu: s.cpu() - cpu, resident: s.resident()}
	b, m := f.totals()
	r.bytes, r.messages = b-bytes, m-messages
	if at := f.arrivals(begin); len(at) > 0 {
		r.proxies, r.first, r.median, r.last = len(at), at[0], at[len(at)/2], at[len(at)-1]
	}
	return r, nil
}

// quiet waits until all proxies are in sync and nothing has come for a while.
func quiet(ctx context.Context, f *fleet, begin time.Time, limit time.Duration) error {
	_, seen := f.totals()
	since := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := f.failure(); err != nil {
			return err
		}
		_, n := f.totals()
		if n != seen || !f.synced() {
			seen, since = n, time.Now()
		}
		if time.Since(since) > quietFor {
			return nil
		}
		if time.Since(begin) > limit {
			return errSlow
		}
	}
}

// run measures one size of mesh and fleet.
func run(ctx context.Context, o options, m *mesh, s *server, proxies int) ([]result, error) {
	f, err := newFleet(s.grpc, proxies, o.sotw)
	if err != nil {
		return nil, err
	}
	defer f.close()
	victim := m.services / 2 &^ 1 // one that has a virtual service
	var out []result
	add := func(name string, change func() error) error {
		r, err := measure(ctx, name, s, f, o.limit, change)
		if err == nil {
			out = append(out, r)
		}
		return err
	}
	if err := add("cold", func() error { f.open(ctx); return nil }); err != nil {
		return nil, err
	}
	best := func(name string, change func(round int) error) error {
		var least result
		for round := 1; round <= o.rounds; round++ {
			r, err := measure(ctx, name, s, f, o.limit, func() error { return change(round) })
			if err != nil {
				return err
			}
			if round == 1 || r.last < least.last {
				least = r
			}
		}
		out = append(out, least)
		return nil
	}
	if err := best("endpoint", func(round int) error { return m.setService(victim, round) }); err != nil {
		return nil, err
	}
	if err := best("weight", func(round int) error { return m.setWeight(victim, 50+round) }); err != nil {
		return nil, err
	}
	if err := add("service added", func() error { return m.setService(m.services, 0) }); err != nil {
		return nil, err
	}
	if err := add("service removed", func() error { return m.removeService(m.services) }); err != nil {
		return nil, err
	}
	if err := add("idle 10 s", func() error { time.Sleep(10 * time.Second); return nil }); err != nil {
		return nil, err
	}
	if err := add("reopened", func() error { f.drop(); f.open(ctx); return nil }); err != nil {
		return nil, err
	}
	return out, nil
}
