package server

import (
	"crypto/fips140"
	"runtime"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/pkg/version"
	"github.com/lateen-mesh/lateen/proxy/internal/bootstrap"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// gauges are the server's own statistics, "server.*", computed when they are asked for.
type gauges struct {
	epoch, generation                                                             stats.Gauge
	uptime, live, state, concurrency, memoryAllocated, memoryHeap, memoryPhysical stats.Gauge
	listenersActive, listenersWarming, clustersActive, clustersWarming            stats.Gauge
	listenersDraining, chainsDraining, firstExpiry, version                       stats.Gauge
}

func newGauges(st *stats.Store) gauges {
	fips := int64(0)
	if fips140.Enabled() {
		fips = 1
	}
	st.Main().GaugeSet(st.Gauge("server.compilation_settings.fips_mode"), fips)
	st.Gauge("server.total_connections")  // listeners count them
	st.Gauge("server.parent_connections") // the hand-over does, where there is one
	return gauges{
		epoch: st.Gauge("server.hot_restart_epoch"), generation: st.Gauge("server.hot_restart_generation"),
		uptime:            st.Gauge("server.uptime"),
		live:              st.Gauge("server.live"),
		state:             st.Gauge("server.state"),
		concurrency:       st.Gauge("server.concurrency"),
		memoryAllocated:   st.Gauge("server.memory_allocated"),
		memoryHeap:        st.Gauge("server.memory_heap_size"),
		memoryPhysical:    st.Gauge("server.memory_physical_size"),
		listenersActive:   st.Gauge("listener_manager.total_listeners_active"),
		listenersWarming:  st.Gauge("listener_manager.total_listeners_warming"),
		listenersDraining: st.Gauge("listener_manager.total_listeners_draining"),
		chainsDraining:    st.Gauge("listener_manager.total_filter_chains_draining"),
		firstExpiry:       st.Gauge("server.days_until_first_cert_expiring"),
		version:           st.Gauge("server.version"),
		clustersActive:    st.Gauge("cluster_manager.active_clusters"),
		clustersWarming:   st.Gauge("cluster_manager.warming_clusters"),
	}
}

// updates are the statistics of configuration from the control plane, under the names that
// dashboards and readiness probes of Envoy read.
type updates struct {
	lds, cds *subscriptionStats // nil for what the bootstrap does not ask for
	listenerAdded, listenerModified, listenerRemoved, listenerFailed, listenerCreated, listenerInPlace, listenerStopped,
	clusterAdded, clusterModified, clusterRemoved stats.Counter
	workersStarted stats.Gauge
	// initialization is how long the start took, in milliseconds.
	initialization stats.Histogram
}

func newUpdates(st *stats.Store, boot *bootstrap.Bootstrap) updates {
	u := updates{
		listenerAdded:    st.Counter("listener_manager.listener_added"),
		listenerModified: st.Counter("listener_manager.listener_modified"),
		listenerRemoved:  st.Counter("listener_manager.listener_removed"),
		listenerFailed:   st.Counter("listener_manager.listener_create_failure"),
		listenerCreated:  st.Counter("listener_manager.listener_create_success"),
		listenerInPlace:  st.Counter("listener_manager.listener_in_place_updated"),
		listenerStopped:  st.Counter("listener_manager.listener_stopped"),
		initialization:   st.Histogram("server.initialization_time_ms"),
		clusterAdded:     st.Counter("cluster_manager.cluster_added"),
		clusterModified:  st.Counter("cluster_manager.cluster_modified"),
		clusterRemoved:   st.Counter("cluster_manager.cluster_removed"),
		workersStarted:   st.Gauge("listener_manager.workers_started"),
	}
	if boot.LDS != nil {
		u.lds = newSubscriptionStats(st.Scope("listener_manager").Scope("lds"), *boot.LDS)
	}
	if boot.CDS != nil {
		u.cds = newSubscriptionStats(st.Scope("cluster_manager").Scope("cds"), *boot.CDS)
	}
	return u
}

// UpdateGauges brings the server's own gauges up to date.
func (s *Server) UpdateGauges() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	main := s.stats.Main()
	set := func(g stats.Gauge, v int) { main.GaugeSet(g, int64(v)) }
	set(s.gauges.firstExpiry, s.firstExpiry(time.Now()))
	set(s.gauges.uptime, int(time.Since(s.started)/time.Second))
	state := s.State()
	live := 0
	if state == Live {
		live = 1
	}
	set(s.gauges.live, live)
	// Envoy's numbers: LIVE 0, DRAINING 1, PRE_INITIALIZING 2, INITIALIZING 3.
	set(s.gauges.state, [...]int{2, 3, 0, 1}[state])
	set(s.gauges.concurrency, len(s.loops))
	set(s.gauges.epoch, int(s.cfg.RestartEpoch))
	set(s.gauges.generation, int(s.cfg.RestartEpoch)+1)
	set(s.gauges.memoryAllocated, int(m.HeapAlloc))
	set(s.gauges.memoryHeap, int(m.HeapSys))
	set(s.gauges.memoryPhysical, int(Resident()))
	set(s.gauges.version, revision(version.Get().Revision))
	s.control.call(func() {
		// As in Envoy, what has never drained has no such statistic.
		if s.drained = s.drained || s.listeners.draining+s.listeners.chains > 0; s.drained {
			set(s.gauges.listenersDraining, s.listeners.draining)
			set(s.gauges.chainsDraining, s.listeners.chains)
		}
		set(s.gauges.listenersActive, len(s.listeners.active))
		set(s.gauges.listenersWarming, len(s.listeners.warming))
		set(s.gauges.clustersActive, len(s.clusterSet.records)-len(s.clusterSet.warming))
		set(s.gauges.clustersWarming, len(s.clusterSet.warming))
	})
}

// revision is the number that Envoy makes of a commit: its first six hexadecimal digits. 0: not known.
func revision(commit string) int {
	n, err := strconv.ParseUint(commit[:min(6, len(commit))], 16, 32)
	if err != nil {
		return 0
	}
	return int(n)
}
