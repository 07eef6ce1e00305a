package extauthz

import (
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// The filter's statistics, "http.<prefix>.ext_authz.[<stat_prefix>.]*", in the order of statSet.
const (
	statOK = iota
	statDenied
	statError
	statDisabled
	statFailureAllowed
	statInvalid
	statIgnoredMetadata
	statHeaderLimits
)

var statSet = stats.NewSet(
	stats.Item{Name: "ok"}, stats.Item{Name: "denied"}, stats.Item{Name: "error"}, stats.Item{Name: "disabled"},
	stats.Item{Name: "failure_mode_allowed"}, stats.Item{Name: "invalid"}, stats.Item{Name: "ignored_dynamic_metadata"},
	stats.Item{Name: "request_header_limits_reached"},
)

func (f *filter) inc(i int) { f.s.Shard().Inc(f.stats.Counter(i)) }

// What is counted of the cluster that a request is for, too, "cluster.<name>.ext_authz.*".
const (
	clusterOK = iota
	clusterDenied
	clusterError
	clusterFailureAllowed
	clusterInvalid
	clusterStats
)

var clusterNames = [clusterStats]string{"ok", "denied", "error", "failure_mode_allowed", "invalid"}

// clusterCounters stand beside a worker's view of the cluster. Each is made when it is first counted.
type clusterCounters [clusterStats]stats.Counter

// clusterKey is the prefix of their names.
type clusterKey string

// target is the cluster that the request is for; nil for none.
func (f *filter) target() *cluster.Local {
	t := f.s.Target()
	if t == nil {
		return nil
	}
	return f.client.Local(t.ClusterName(f.s.RequestHeaders()))
}

func (f *filter) incCluster(i int) {
	l := f.upstream
	if l == nil {
		return
	}
	c := l.Beside(f.prefix, func() any { return &clusterCounters{} }).(*clusterCounters)
	if c[i] == 0 {
		c[i] = l.Scope().Counter(string(f.prefix) + "." + clusterNames[i])
	}
	f.s.Shard().Inc(c[i])
}
