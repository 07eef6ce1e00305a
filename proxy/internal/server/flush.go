package server

import (
	"context"
	"net"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/export/metricsservice"
	"github.com/lateen-mesh/lateen/proxy/internal/export/statsd"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// statsOptions turns the bootstrap's settings into those of the store.
func statsOptions(cfg *Config) stats.Options {
	c := &cfg.Bootstrap.Stats
	o := stats.Options{Workers: cfg.Workers, Tags: cfg.StatsTags, NoDefaultTags: c.NoDefaultTags}
	for _, t := range c.Tags {
		if t.Regex != nil || t.Fixed != "" { // else it names a default tag, which is extracted already
			o.Tags = append(o.Tags, stats.TagRule{Name: t.Name, Fixed: t.Fixed, Regex: t.Regex})
		}
	}
	if m := c.Matcher; m != nil {
		o.Matcher = &stats.Matcher{RejectAll: m.RejectAll, Exclude: m.Exclude}
		for i := range m.Patterns {
			o.Matcher.Patterns = append(o.Matcher.Patterns, m.Patterns[i].Match)
		}
	}
	for i := range c.Buckets {
		o.Buckets = append(o.Buckets, stats.BucketRule{Match: c.Buckets[i].Match.Match, Bounds: c.Buckets[i].Bounds})
	}
	return o
}

// flushTimeout bounds how long the workers and the sinks may take.
const flushTimeout = 5 * time.Second

// statsSink sends what a snapshot shows.
type statsSink interface {
	Flush(ctx context.Context, snap *stats.Snapshot) error
	Close()
}

// flushStats ends intervals by time, and sends to the sinks, until ctx ends.
func (s *Server) flushStats(ctx context.Context) {
	var sinks []statsSink
	for _, cfg := range s.boot.Stats.Sinks {
		if m := cfg.Metrics; m != nil {
			sinks = append(sinks, metricsservice.New(*m, clusterService{s, m.Service.Cluster, m.Service.Call}, s.boot.Node))
			continue
		}
		sinks = append(sinks, statsd.New(cfg, func(ctx context.Context) (net.Conn, error) {
			d, err := (clusterService{s: s, cluster: cfg.Cluster}).dialer()
			if err != nil {
				return nil, err
			}
			defer d.Close()
			return d.Connect(ctx)
		}))
	}
	defer func() {
		for _, sink := range sinks {
			sink.Close()
		}
	}()
	tick := time.NewTicker(s.boot.Stats.FlushInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.flush(ctx, sinks)
	}
}

func (s *Server) flush(ctx context.Context, sinks []statsSink) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := s.stats.Flush(ctx); err != nil || len(sinks) == 0 {
		return // the workers are busy or gone: the interval grows
	}
	s.UpdateGauges()
	snap, err := s.stats.Snapshot(ctx, stats.Query{})
	if err != nil {
		return
	}
	for i, sink := range sinks {
		if err := sink.Flush(ctx, snap); err != nil && ctx.Err() == nil {
			s.logger("stats_sinks").Warn("cannot send statistics", "to", sinkName(s.boot.Stats.Sinks[i]), "error", err)
		}
	}
}

func sinkName(s xdsresource.StatsSink) string {
	switch {
	case s.Metrics != nil:
		return "metrics service " + s.Metrics.Service.Cluster
	case s.Cluster != "":
		return "cluster " + s.Cluster
	}
	return addressesText([]xdsresource.Address{s.Address})
}

// BeforeStats brings up to date what /stats shows.
func (s *Server) BeforeStats(ctx context.Context) {
	s.UpdateGauges()
	if s.boot.Stats.FlushOnAdmin {
		ctx, cancel := context.WithTimeout(ctx, flushTimeout)
		defer cancel()
		_ = s.stats.Flush(ctx) // what fails here fails again, and is reported, when the snapshot is taken
	}
}
