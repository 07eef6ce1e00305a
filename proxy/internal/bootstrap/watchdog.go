package bootstrap

import (
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/proxy/internal/watchdog"
)

// watchdogs reads the watchdogs; watchdog, which is deprecated, stands for both.
func (l *loader) watchdogs(m *bootstrapv3.Bootstrap) {
	both, each := m.GetWatchdog(), m.GetWatchdogs() //nolint:staticcheck // the form of old files
	if both != nil && each != nil {
		l.bad("watchdog", "stands beside watchdogs, which says the same; remove it")
		return
	}
	out := &l.out.Watchdogs
	if both != nil {
		out.Main = l.watchdog("watchdog", both)
		out.Workers = out.Main
		return
	}
	out.Main = l.watchdog("watchdogs.main_thread_watchdog", each.GetMainThreadWatchdog())
	out.Workers = l.watchdog("watchdogs.worker_watchdog", each.GetWorkerWatchdog())
}

func (l *loader) watchdog(path string, m *bootstrapv3.Watchdog) watchdog.Config {
	read := func(field string, d *durationpb.Duration) time.Duration {
		if d == nil {
			return 0
		}
		if err := d.CheckValid(); err != nil || d.AsDuration() < 0 {
			l.bad(path+"."+field, "must be a duration of 0 or more")
		}
		return d.AsDuration()
	}
	c := watchdog.Config{
		Miss: read("miss_timeout", m.GetMissTimeout()), MegaMiss: read("megamiss_timeout", m.GetMegamissTimeout()),
		Kill: read("kill_timeout", m.GetKillTimeout()), KillJitter: read("max_kill_timeout_jitter", m.GetMaxKillTimeoutJitter()),
		MultiKill: read("multikill_timeout", m.GetMultikillTimeout()), Threshold: m.GetMultikillThreshold().GetValue(),
	}
	if c.Threshold < 0 || c.Threshold > 100 {
		l.bad(path+".multikill_threshold", "must be a percentage from 0 to 100")
	}
	return c
}
