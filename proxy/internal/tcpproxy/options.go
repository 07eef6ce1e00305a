package tcpproxy

import (
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// jittered is the longest time that a connection may take, put off at random.
func (p *Proxy) jittered(d time.Duration, random uint64) time.Duration {
	if most := uint64(float64(d) * p.cfg.DurationJitter); most > 0 {
		d += time.Duration(random % most)
	}
	return d
}

// logEarly writes the entry that a connection begins with, and has further ones follow.
func (s *session) logEarly() {
	if s.p.cfg.LogOnStart {
		s.entry(format.TCPConnectionStart)
	}
	if s.p.cfg.LogInterval > 0 && len(s.p.d.AccessLogs) > 0 {
		s.entries = &eventloop.Timer{}
		s.entries.Init(s.onEntry)
		s.loop.Arm(s.entries, s.p.cfg.LogInterval)
	}
}

func (s *session) onEntry() {
	s.entry(format.TCPPeriodic)
	s.loop.Arm(s.entries, s.p.cfg.LogInterval)
}

// entry writes an entry; one that is not the last lasts until now.
func (s *session) entry(of format.LogType) {
	s.info.End = s.loop.Now()
	s.p.log(s.loop, &s.info, of)
}

// Drain implements listener.Drainer.
func (s *session) Drain() { s.leaving = s.p.cfg.CheckDrain }

// Drain implements listener.Drainer.
func (d *tunnelled) Drain() { (*session)(d).Drain() }

// leave ends a connection of a listener that drains: the client gets what is on its way, and the host what has come.
func (s *session) leave() {
	s.closeFor("drain_close")
	s.down.Close(conn.CloseFlushed)
}

// early is what a client says while there is no host: it waits in the connection's buffer.
func (s *session) early(c *conn.Conn, eof bool) {
	if s.p.cfg.EarlyData && !s.heard {
		s.heard = true
		s.shard.Add(s.p.early.Counter(0), 1)
	}
	if s.silent {
		switch {
		case c.In().Len() > 0:
			s.silent = false
			s.loop.Disarm(&s.idle)
			s.start()
		case eof: // nothing will come that could be told to a host
			c.Close(conn.CloseFlushed)
		}
		return
	}
	if s.p.cfg.EarlyData && uint32(min(c.In().Len(), 1<<31)) > s.p.cfg.EarlyDataMax {
		c.PauseRead()
	}
}

// Clusters fetches clusters that are not known. Its method is called on event loops.
type Clusters interface {
	// Want asks a source for a cluster. done is called once, on the loop and not within Want, when
	// it is warm or there is none; never after cancel.
	Want(src xdsresource.ConfigSource, name string, l *eventloop.Loop, done func(found bool)) (cancel func())
}

// demand is a session's wait for its cluster.
type demand struct {
	cancel func() // nil: over
	timer  eventloop.Timer
}

// ask asks for a cluster that is not known. False: it cannot be, or has been asked for already.
func (s *session) ask() bool {
	od := s.p.cfg.OnDemand
	if od == nil || s.demand != nil || s.info.UpstreamCluster == "" {
		return false
	}
	s.asked(demandAttempt)
	s.demand = &demand{}
	s.demand.timer.Init(func() {
		s.demand.giveUp(s.loop)
		s.asked(demandTimeout)
		s.lookUp()
	})
	s.loop.Arm(&s.demand.timer, od.Timeout)
	s.demand.cancel = s.p.d.OnDemand.Want(od.Source, s.info.UpstreamCluster, s.loop, func(found bool) {
		s.demand.cancel = nil
		s.demand.giveUp(s.loop)
		if found {
			s.asked(demandSuccess)
		} else {
			s.asked(demandMissing)
		}
		s.lookUp()
	})
	return true
}

func (s *session) asked(i int) { s.shard.Add(s.p.demand.Counter(i), 1) }

// giveUp ends the wait, if there is one.
func (d *demand) giveUp(l *eventloop.Loop) {
	if d == nil {
		return
	}
	l.Disarm(&d.timer)
	if d.cancel != nil {
		d.cancel()
		d.cancel = nil
	}
}

// earlySet is what max_early_data_bytes adds to the statistics of the proxy.
var earlySet = stats.NewSet(stats.Item{Name: "early_data_received_count_total"})

// Statistics of on_demand, beside those of the proxy.
const (
	demandAttempt = iota
	demandMissing
	demandSuccess
	demandTimeout
)

var demandSet = stats.NewSet(
	stats.Item{Name: "on_demand_cluster_attempt"},
	stats.Item{Name: "on_demand_cluster_missing"},
	stats.Item{Name: "on_demand_cluster_success"},
	stats.Item{Name: "on_demand_cluster_timeout"},
)
