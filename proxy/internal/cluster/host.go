package cluster

import (
	"sync/atomic"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/proxyprotocol"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Host is one endpoint of a cluster, shared by all workers. It is the same object for as
// long as the cluster keeps an endpoint of that address and transport.
type Host struct {
	Address  xdsresource.Address // resolved: IP or pipe
	Name     string              // Address as text, "10.1.2.3:80"; made once, for logs
	Hostname string              // endpoint.hostname, or the name that was resolved; may be empty
	// Transport is what Config.NewTransport made; nil for plain text. TransportMatch is the
	// name of the transport_socket_matches entry that chose it, empty for the cluster's own.
	Transport      any
	TransportMatch string
	transport      *xdsresource.UpstreamTransport // its configuration, by which the host is known
	check          *xdsresource.EndpointCheck

	info   atomic.Pointer[HostInfo]
	health atomic.Uint32 // healthFlag bits
	// healthySince is when slow start began, on the manager's clock; 0: never.
	healthySince atomic.Int64
	// dynamic is the ORIGINAL_DST cluster whose worker made the host; nil for all others.
	dynamic *Cluster
	// connections of all workers, for per_host_thresholds.
	connections atomic.Int64
	outlier
}

// HostInfo is what a control plane may change about a host without replacing it.
type HostInfo struct {
	Weight   uint32
	Priority uint32
	Health   xdsresource.HealthStatus // as sent by EDS
	Locality Locality
	Metadata xdsresource.Metadata
	// Addresses are those to connect to, in order, where the host has several; nil: its Address.
	Addresses []xdsresource.Address
	TLVs      []proxyprotocol.TLV // for the headers of the PROXY protocol that it gets
}

// Locality says where a host is.
type Locality struct{ Region, Zone, SubZone string }

func (h *Host) key() hostKey { return hostKey{h.Name, h.Hostname, h.transport, valueOf(h.check)} }

// Info returns what is known about the host now.
func (h *Host) Info() *HostInfo { return h.info.Load() }

// Flags for Host.health, as in Envoy's Host::HealthFlag.
const (
	failedActiveHC uint32 = 1 << iota
	failedOutlierCheck
	failedEDSHealth
	degradedActiveHC
	degradedEDSHealth
	pendingActiveHC
	excludedImmediateHC
	activeHCTimeout
	pendingDynamicRemoval
	edsDraining
	degradedOutlier

	unhealthyFlags = failedActiveHC | failedOutlierCheck | failedEDSHealth | edsDraining
	degradedFlags  = degradedActiveHC | degradedEDSHealth | degradedOutlier
	excludedFlags  = pendingActiveHC | excludedImmediateHC | edsDraining
)

// healthNames are the flags as /clusters shows them, in Envoy's order.
var healthNames = [...]struct {
	flag uint32
	name string
}{
	{failedActiveHC, "failed_active_hc"}, {failedOutlierCheck, "failed_outlier_check"},
	{failedEDSHealth, "failed_eds_health"}, {degradedActiveHC, "degraded_active_hc"},
	{degradedEDSHealth, "degraded_eds_health"}, {pendingDynamicRemoval, "pending_dynamic_removal"}, {pendingActiveHC, "pending_active_hc"},
	{excludedImmediateHC, "excluded_via_immediate_hc_fail"}, {activeHCTimeout, "active_hc_timeout"},
	{edsDraining, "eds_status_draining"}, {degradedOutlier, "degraded_outlier_detection"},
}

// state is what a host is good for.
type state uint8

const (
	stateHealthy state = iota
	stateDegraded
	stateUnhealthy
)

func (s state) status() xdsresource.HealthStatus {
	return [...]xdsresource.HealthStatus{xdsresource.HealthHealthy, xdsresource.HealthDegraded, xdsresource.HealthUnhealthy}[s]
}

func (h *Host) state() state {
	switch f := h.health.Load(); {
	case f&unhealthyFlags != 0:
		return stateUnhealthy
	case f&degradedFlags != 0:
		return stateDegraded
	}
	return stateHealthy
}

// Healthy reports whether the host may be picked outside of a panic.
func (h *Host) Healthy() bool { return h.health.Load()&unhealthyFlags == 0 }

// Ejected reports whether outlier detection has taken the host out.
func (h *Host) Ejected() bool { return h.health.Load()&failedOutlierCheck != 0 }

// HealthFlags are the names of what is wrong with the host, as Envoy's admin API has them.
func (h *Host) HealthFlags() []string {
	var out []string
	f := h.health.Load()
	for _, n := range healthNames {
		if f&n.flag != 0 {
			out = append(out, n.name)
		}
	}
	return out
}

// excluded hosts do not count when shares of healthy hosts are worked out.
func (h *Host) excluded() bool { return h.health.Load()&excludedFlags != 0 }

func (h *Host) setFlag(f uint32, on bool) {
	for {
		old := h.health.Load()
		v := old &^ f
		if on {
			v = old | f
		}
		if h.health.CompareAndSwap(old, v) {
			return
		}
	}
}

// Pool is what connpool or tcpproxy keeps per host and worker.
type Pool interface {
	// Close is called on the worker when the host has left the cluster: idle connections go
	// at once, busy ones when their requests end.
	Close()
	// Drain closes idle connections, and busy ones when their requests end; the pool makes new
	// ones.
	Drain()
	// Abort ends all connections, and what is under way on them.
	Abort()
}

// Dependent is a connection outside of pools. OnHostFailed is called on the worker when the
// host has become unhealthy and the cluster closes connections then.
type Dependent interface{ OnHostFailed() }

// LocalHost is one worker's view of a host. Only that worker touches it.
type LocalHost struct {
	lb.Load // Active is kept by OnRequest and OnDone
	Host    *Host
	Local   *Local
	Pool    Pool
	Stats   HostStats
	removed bool
	failed  bool // out by a health check or outlier detection

	dependents map[Dependent]struct{} // nil: the cluster leaves connections alone

	rates rates // results since the last interval of outlier detection
}

// HostStats are Envoy's per-host statistics (REQUIREMENTS F15).
type HostStats struct {
	CxTotal, CxConnectFail, CxActive                 uint64
	RqTotal, RqSuccess, RqError, RqTimeout, RqActive uint64
	RqPendingActive                                  uint64
}

func (s *HostStats) add(o *HostStats) {
	s.CxTotal += o.CxTotal
	s.CxConnectFail += o.CxConnectFail
	s.CxActive += o.CxActive
	s.RqTotal += o.RqTotal
	s.RqSuccess += o.RqSuccess
	s.RqError += o.RqError
	s.RqTimeout += o.RqTimeout
	s.RqActive += o.RqActive
	s.RqPendingActive += o.RqPendingActive
}

// Removed reports whether the host has left the cluster; its pool takes no new requests.
func (h *LocalHost) Removed() bool { return h.removed }

// OnConnecting counts a connection attempt.
func (h *LocalHost) OnConnecting() {
	h.Stats.CxTotal++
	h.Stats.CxActive++
	if t := &h.Local.cluster.traffic; !t.Load() {
		t.Store(true)
	}
	h.Host.connections.Add(1)
	h.Local.conns++
}

// CountAttempts counts the addresses that were tried for one connection as connections, as Envoy
// does; the first is counted already.
func (l *Local) CountAttempts(n int) {
	if n > 1 {
		l.Add(CxTotal, uint64(n-1))
	}
}

// OnDisconnected uncounts a connection that OnConnecting counted.
func (h *LocalHost) OnDisconnected() {
	h.Stats.CxActive--
	h.Host.connections.Add(-1)
	h.Local.conns--
}

// OnWaiting counts a request that waits for a connection (1), and uncounts it (-1).
func (h *LocalHost) OnWaiting(d int) {
	h.Stats.RqPendingActive += uint64(d)
	h.Local.waiting += d
}

// Depend has d told when the host fails, until Leave.
func (h *LocalHost) Depend(d Dependent) {
	if !h.Local.cfg.CloseOnHealthFailure {
		return
	}
	if h.dependents == nil {
		h.dependents = make(map[Dependent]struct{})
	}
	h.dependents[d] = struct{}{}
}

// Leave takes back what Depend did.
func (h *LocalHost) Leave(d Dependent) { delete(h.dependents, d) }

// fail ends the host's connections: it has become unhealthy, and the cluster wants that.
func (h *LocalHost) fail() {
	if h.Pool != nil {
		h.Pool.Abort()
	}
	for d := range h.dependents {
		d.OnHostFailed()
	}
}

// OnRequest counts a request (or a proxied TCP connection) given to the host.
func (h *LocalHost) OnRequest() {
	h.Stats.RqTotal++
	h.Stats.RqActive++
	h.Active++
	h.Local.active++
}

// OnDone uncounts what OnRequest counted, however it ended.
func (h *LocalHost) OnDone() {
	h.Stats.RqActive--
	h.Active--
	h.Local.active--
}

// ResultKind says how an attempt at a host ended.
type ResultKind uint8

// Results, after Envoy's Outlier::Result.
const (
	// ResultResponse is a response with Result.Code; gRPC status is mapped to HTTP by the caller.
	ResultResponse ResultKind = iota
	// ResultConnectFailed is a connection that could not be made (refused, reset, TLS).
	ResultConnectFailed
	// ResultConnectTimeout is a connection attempt that timed out.
	ResultConnectTimeout
	// ResultTimeout is no response in time (per-try or route timeout).
	ResultTimeout
	// ResultReset is a response cut off by the host.
	ResultReset
	// ResultConnected is a TCP connection made, where no response will follow (tcp_proxy).
	ResultConnected
	// ResultReady is a connection there for a request: our way to the host is good, the host's
	// own answer follows.
	ResultReady
)

// Result is how an attempt at a host ended.
type Result struct {
	Kind ResultKind
	Code int
	// Unsettled: whether the host did well is not known yet, as of gRPC before its trailers;
	// OnSettled says it.
	Unsettled bool
	// Degraded: a response said by x-envoy-degraded that the host does less well than others.
	Degraded bool
}

// OnSettled counts whether a response was good.
func (h *LocalHost) OnSettled(good bool) {
	if good {
		h.Stats.RqSuccess++
	} else {
		h.Stats.RqError++
	}
}

// OnResult counts a result and feeds outlier detection.
func (h *LocalHost) OnResult(r Result) {
	switch r.Kind {
	case ResultResponse:
		if !r.Unsettled {
			h.OnSettled(r.Code < 500)
		}
	case ResultConnectFailed, ResultConnectTimeout:
		h.Stats.CxConnectFail++
	case ResultTimeout:
		h.Stats.RqTimeout++
		h.Stats.RqError++
	case ResultReset:
		h.Stats.RqError++
	}
	if d := h.Local.detector; d != nil {
		d.put(h, r)
	}
}
