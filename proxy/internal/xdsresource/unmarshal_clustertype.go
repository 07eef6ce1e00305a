package xdsresource

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
)

// customType reads cluster_type: kinds of clusters that are extensions in Envoy.
func (p *parser) customType(path string, ct *clusterv3.Cluster_CustomClusterType, c *Cluster) {
	here := join(path, "typed_config")
	a := ct.GetTypedConfig()
	if a == nil {
		p.bad(here, "is required")
		return
	}
	switch TypeName(a) {
	case "envoy.extensions.clusters.aggregate.v3.ClusterConfig":
		var m aggregatev3.ClusterConfig
		if !p.message(here, a, &m) {
			return
		}
		c.Type, c.Members = ClusterAggregate, m.GetClusters()
		seen := map[string]bool{c.Name: true}
		for i, name := range c.Members {
			if seen[name] {
				p.bad(at(join(here, "clusters"), i), "%q is named twice, or is the cluster itself", name)
			}
			seen[name] = true
		}
	default:
		p.bad(here, "cluster type %s is not supported", TypeName(a))
	}
}
