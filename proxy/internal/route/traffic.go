package route

import (
	"cmp"
	"slices"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// Statistics of Traffic, in the order of trafficSet.
const (
	RqRetry = iota
	RqRetryLimitExceeded
	RqRetryOverflow
	RqRetrySuccess
	RqTimeout
	RqTotal
)

var trafficSet = stats.NewSet(
	stats.Item{Name: "upstream_rq_retry"}, stats.Item{Name: "upstream_rq_retry_limit_exceeded"},
	stats.Item{Name: "upstream_rq_retry_overflow"}, stats.Item{Name: "upstream_rq_retry_success"},
	stats.Item{Name: "upstream_rq_timeout"}, stats.Item{Name: "upstream_rq_total"},
)

// Traffic counts what hosts made of some of a virtual host's requests: those of a route that has a stat_prefix,
// "vhost.<virtual host>.route.<stat_prefix>.*", or those of a virtual cluster, "vhost.<virtual host>.vcluster.<name>.*"
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#statistics).
// A nil one counts nothing.
type Traffic struct {
	block   stats.Block
	answers *stats.Codes
}

func newTraffic(sc stats.Scope) *Traffic {
	return &Traffic{block: sc.Block(trafficSet), answers: stats.NewCodes(sc)}
}

// Inc adds one to a statistic of the worker whose shard it is.
func (t *Traffic) Inc(s *stats.Shard, i int) {
	if t != nil {
		s.Inc(t.block.Counter(i))
	}
}

// Answered counts an answer by its status.
func (t *Traffic) Answered(s *stats.Shard, status int) {
	if t != nil {
		t.answers.Count(s, status)
	}
}

// Took records the time of an answer, in milliseconds.
func (t *Traffic) Took(s *stats.Shard, ms uint64) {
	if t != nil {
		t.answers.Time(s, ms)
	}
}

// VirtualCluster is a compiled virtual_clusters entry, or what is left when none matches.
type VirtualCluster struct {
	// Name is the operator VIRTUAL_CLUSTER_NAME's; "" for what is left when none matches.
	Name string
	// Traffic is nil until Table.Count.
	Traffic *Traffic
	match   []HeaderMatcher
}

// catchAll is what statistics call the virtual cluster of requests that match no other one of their virtual host.
const catchAll = "other"

// virtualClusters compiles a virtual host's; none: nil.
func virtualClusters(v *VirtualHost) (out []VirtualCluster) {
	if len(v.VirtualHost.VirtualClusters) == 0 {
		return nil
	}
	for _, c := range v.VirtualHost.VirtualClusters {
		vc := VirtualCluster{Name: c.Name}
		for i := range c.Headers {
			vc.match = append(vc.match, NewHeaderMatcher(&c.Headers[i]))
		}
		out = append(out, vc)
	}
	return append(out, VirtualCluster{})
}

// VirtualCluster returns that of a request, the first that matches; nil where the virtual host has none.
func (v *VirtualHost) VirtualCluster(h *header.Map) *VirtualCluster {
	for i := range v.clusters {
		if c := &v.clusters[i]; c.matches(h) {
			return c
		}
	}
	return nil
}

func (c *VirtualCluster) matches(h *header.Map) bool {
	for i := range c.match {
		if !c.match[i].Match(h) {
			return false
		}
	}
	return true
}

// counts reports whether a virtual host has statistics of its own.
func (v *VirtualHost) counts() bool {
	return len(v.clusters) > 0 || slices.ContainsFunc(v.Entries, func(e *Entry) bool { return e.StatPrefix != "" })
}

// Count gives the virtual hosts that have a stat_prefix or virtual clusters their statistics, in a view of the store
// that is asked for once for each. Those that have them already, from the table that this one is an edit of, keep them.
// It must come before workers see the table.
func (t *Table) Count(store func() *stats.Store) {
	for _, v := range t.vhosts {
		if v.stats == nil && v.counts() {
			v.count(store())
		}
	}
}

func (v *VirtualHost) count(s *stats.Store) {
	v.stats = s
	scope := s.Scope("vhost").Tagged(stats.TagVirtualHost, v.Name)
	for i := range v.clusters {
		c := &v.clusters[i]
		c.Traffic = newTraffic(scope.Scope("vcluster").Tagged(stats.TagVirtualCluster, cmp.Or(c.Name, catchAll)))
	}
	for _, e := range v.Entries {
		if e.StatPrefix != "" {
			e.Traffic = newTraffic(scope.Scope("route").Tagged(stats.TagRoute, e.StatPrefix))
		}
	}
}

// Retire closes the views of Count of the virtual hosts that next, which may be nil, does not have: their statistics
// are shown no more. It is for tables whose Count was given a view for each virtual host.
func (t *Table) Retire(next *Table) {
	var kept map[*VirtualHost]bool
	for _, v := range t.vhosts {
		if v.stats == nil {
			continue
		}
		if kept == nil {
			kept = map[*VirtualHost]bool{}
			if next != nil {
				for _, v := range next.vhosts {
					kept[v] = true
				}
			}
		}
		if !kept[v] {
			v.stats.Close()
		}
	}
}
