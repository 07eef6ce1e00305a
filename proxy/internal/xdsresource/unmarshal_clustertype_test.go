package xdsresource

import (
	"strings"
	"testing"
	"time"
)

func TestClusterTypes(t *testing.T) {
	c, err := readCluster(t, `"lb_policy": "CLUSTER_PROVIDED", "cluster_type": {"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig", "clusters": ["a", "b"]}}`)
	if err != nil || c.Type != ClusterAggregate || strings.Join(c.Members, ",") != "a,b" {
		t.Errorf("aggregate: %v %+v", err, c)
	}
	dns := `"cluster_type": {"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster", "dns_refresh_rate": "7s",
		"dns_failure_refresh_rate": {"base_interval": "1s"}, "dns_jitter": "2s", "respect_dns_ttl": true, "dns_lookup_family": "V4_PREFERRED", "all_addresses_in_single_endpoint": true}},
		"load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "web.example", "port_value": 80}}}}]}]}`
	c, err = readCluster(t, dns)
	want := DNS{Family: DNSV4Preferred, Refresh: 7 * time.Second, FailureBase: time.Second, FailureMax: 10 * time.Second, Jitter: 2 * time.Second, RespectTTL: true}
	if err != nil || c.Type != ClusterLogicalDNS || c.DNS != want {
		t.Errorf("DNS: %v %+v", err, c)
	}
	c, err = readCluster(t, `"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "original_dst_lb_config": {"use_http_header": true, "http_header_name": "X-To", "upstream_port_override": 8443, "metadata_key": {"key": "a", "path": [{"key": "b"}]}}`)
	if err != nil || c.OriginalDstHeader != "x-to" || c.OriginalDstPort != 8443 || strings.Join(c.OriginalDstMetadata, "/") != "a/b" {
		t.Errorf("original destination: %v %+v", err, c)
	}
	for fields, want := range map[string]string{
		`"lb_policy": "CLUSTER_PROVIDED", "cluster_type": {"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig", "clusters": ["a", "a"]}}`: `clusters[1]: "a" is named twice`,
		`"lb_policy": "CLUSTER_PROVIDED", "cluster_type": {"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig", "clusters": ["c"]}}`:      "the cluster itself",
		`"cluster_type": {"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig", "clusters": ["a"]}}`:                                       "CLUSTER_PROVIDED goes with",
		`"cluster_type": {"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}`:                                                                "is not supported",
		`"dns_failure_refresh_rate": {"base_interval": "2s", "max_interval": "1s"}`:                                                                                                                     "max_interval: 1s is shorter",
		`"circuit_breakers": {"per_host_thresholds": [{"max_requests": 1}]}`:                                                                                                                            "only max_connections can be limited per host",
		`"preconnect_policy": {"predictive_preconnect_ratio": 0.5}`:                                                                                                                                     "predictive_preconnect_ratio: value must be",
		`"load_assignment": {"cluster_name": "c", "policy": {"drop_overloads": [{"category": "a", "drop_percentage": {"numerator": 1}}, {"category": "b", "drop_percentage": {"numerator": 1}}]}}`:      "drop_overloads: one category is possible, not 2",
	} {
		if _, err := readCluster(t, fields); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", fields, err, want)
		}
	}
}
