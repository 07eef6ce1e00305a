package model

import (
	"cmp"
	"maps"
	"time"
)

// ProxyConfig says how the agents of some workloads run their proxies.
// https://istio.io/latest/docs/reference/config/networking/proxy-config/
type ProxyConfig struct {
	Namespace, Name string
	// Selector are the labels of the workloads; nil for all of the namespace, and of the mesh in the root namespace.
	Selector map[string]string
	Settings AgentSettings
	Created  time.Time
	Origin   Origin
	Rev      uint64
}

// Key is the key of a ProxyConfig in Snapshot.ProxyConfigs.
func (c *ProxyConfig) Key() string { return c.Namespace + "/" + c.Name }

// AgentSettings are what an agent runs its proxy with.
type AgentSettings struct {
	// Concurrency is the number of the proxy's workers, 0 one for each CPU; nil: not said.
	Concurrency *int32
	// Variables are added to the agent's environment.
	Variables map[string]string
	// DrainTime is how long connections of a listener that was replaced may last (drainDuration), TerminationDrain how long a proxy that is to end goes on,
	// FlushInterval and FlushKB how much of access logs waits in memory; 0: not said.
	DrainTime, TerminationDrain, FlushInterval time.Duration
	FlushKB                                    uint32
	// AdminPort and StatusPort are those of the proxy's admin API and of its agent; 0: not said.
	AdminPort, StatusPort uint16
	Cluster               NodeCluster
	// Compression has metrics compressed for those who take that (statsCompression); nil: not said.
	Compression *bool
	// BootstrapFile is a file of the proxy's host with a bootstrap instead of the agent's (customConfigFile); "": not said.
	BootstrapFile string
}

// NodeCluster is how the clusters of nodes are named: by a name, or by a rule of Istio's (ProxyConfig.TracingServiceName); the zero value: not said.
type NodeCluster struct {
	Name string
	Rule string // APP_LABEL_AND_NAMESPACE and so on
}

// over returns the settings with those of low where they say nothing. Variables are merged.
func (a AgentSettings) over(low AgentSettings) AgentSettings {
	out := AgentSettings{
		Concurrency: cmp.Or(a.Concurrency, low.Concurrency), Variables: low.Variables, DrainTime: cmp.Or(a.DrainTime, low.DrainTime),
		TerminationDrain: cmp.Or(a.TerminationDrain, low.TerminationDrain), FlushInterval: cmp.Or(a.FlushInterval, low.FlushInterval), FlushKB: cmp.Or(a.FlushKB, low.FlushKB),
		AdminPort: cmp.Or(a.AdminPort, low.AdminPort), StatusPort: cmp.Or(a.StatusPort, low.StatusPort),
		Cluster: cmp.Or(a.Cluster, low.Cluster), Compression: cmp.Or(a.Compression, low.Compression), BootstrapFile: cmp.Or(a.BootstrapFile, low.BootstrapFile),
	}
	if len(a.Variables) > 0 {
		out.Variables = make(map[string]string, len(low.Variables)+len(a.Variables))
		maps.Copy(out.Variables, low.Variables)
		maps.Copy(out.Variables, a.Variables)
	}
	return out
}

// AgentSettings returns the settings in force for a workload, and the revisions of what they come from. From the weakest to the strongest these are
// the mesh's defaultConfig, the ProxyConfig for the mesh, that for the namespace, the annotation of the workload's group (which may be nil), and the ProxyConfig that
// selects the workload. Of several at one of these places the oldest counts, as in Istio (EffectiveProxyConfig in pilot/pkg/model/proxy_config.go).
func (s *Snapshot) AgentSettings(ns string, labels map[string]string, group *WorkloadGroup) (AgentSettings, []uint64) {
	out, revs := s.Mesh.Agent, []uint64{s.Mesh.Rev}
	add := func(c *ProxyConfig) {
		if c != nil {
			out, revs = c.Settings.over(out), append(revs, c.Rev)
		}
	}
	all := func(c *ProxyConfig) bool { return len(c.Selector) == 0 }
	add(s.oldestProxyConfig(s.Mesh.RootNamespace, all))
	if ns != s.Mesh.RootNamespace {
		add(s.oldestProxyConfig(ns, all))
	}
	if group != nil {
		out, revs = group.Settings.over(out), append(revs, group.Rev)
	}
	add(s.oldestProxyConfig(ns, func(c *ProxyConfig) bool { return len(c.Selector) > 0 && LabelsMatch(c.Selector, labels) }))
	return out, revs
}

func (s *Snapshot) oldestProxyConfig(ns string, fits func(*ProxyConfig) bool) *ProxyConfig {
	var best *ProxyConfig
	for _, c := range s.ProxyConfigs.Prefix(ns + "/") {
		if fits(c) && (best == nil || older(c.Created, c.Key(), best.Created, best.Key())) {
			best = c
		}
	}
	return best
}
