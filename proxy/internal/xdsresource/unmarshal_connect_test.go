package xdsresource

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestConnectionFields: how a cluster's connections are made, as it is written.
func TestConnectionFields(t *testing.T) {
	c, err := readCluster(t, `"cleanup_interval": "7s", "wait_for_warm_on_init": false, "close_connections_on_host_health_failure": true,
		"common_lb_config": {"update_merge_window": "3s"},
		"track_cluster_stats": {"timeout_budgets": true, "request_response_sizes": true},
		"upstream_connection_options": {"happy_eyeballs_config": {"first_address_family_version": "V4", "first_address_family_count": 2}},
		"upstream_bind_config": {
			"source_address": {"address": "10.0.0.1", "port_value": 0}, "freebind": true, "socket_options": [{"level": 1, "name": 2, "int_value": "3"}],
			"extra_source_addresses": [{"address": {"address": "fd00::1", "port_value": 0}, "socket_options": {}}]},
		"load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {
			"address": {"socket_address": {"address": "10.0.0.2", "port_value": 80}},
			"additional_addresses": [{"address": {"socket_address": {"address": "fd00::2", "port_value": 81}}}]}}]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if c.CleanupInterval != 7*time.Second || !c.DNS.WarmAtOnce || !c.CloseOnHealthFailure || c.MergeWindow != 3*time.Second || !c.TrackBudgets || !c.TrackSizes {
		t.Errorf("%+v", c)
	}
	if c.Eyeballs != (Eyeballs{Family: FamilyV4, Count: 2}) {
		t.Errorf("eyeballs %+v", c.Eyeballs)
	}
	b := c.Bind
	if b == nil || !b.Freebind || len(b.Sources) != 2 || b.For(true).Address.IP.String() != "fd00::1" || b.For(false).Address.IP.String() != "10.0.0.1" ||
		len(b.For(false).Options) != 1 || len(b.For(true).Options) != 0 {
		t.Errorf("bind %+v", b)
	}
	if m := c.Endpoints.Localities[0].Endpoints[0].More; len(m) != 1 || m[0].Port != 81 {
		t.Errorf("additional addresses %v", m)
	}
	if c, err = readCluster(t, `"type": "STATIC"`); err != nil || c.CleanupInterval != 5*time.Second || c.DNS.WarmAtOnce || c.MergeWindow != 0 || c.Bind != nil {
		t.Errorf("defaults: %v, %+v", err, c)
	}
}

// TestResolvers: the four forms in which a cluster names its name servers.
func TestResolvers(t *testing.T) {
	const (
		servers = `"resolvers": [{"socket_address": {"address": "10.0.0.53", "port_value": 5353}}, {"socket_address": {"address": "fd00::53", "port_value": 0}}]`
		options = `"dns_resolver_options": {"use_tcp_for_dns_lookups": true, "no_default_search_domain": true}`
		cares   = `{"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig", `
	)
	for _, tc := range []struct{ fields, want string }{
		{`"dns_jitter": "0s"`, "<nil>"},
		{`"typed_dns_resolver_config": ` + cares + servers + `, ` + options + `, "query_tries": 2, "query_timeout_seconds": "3"}}`, "&{[10.0.0.53:5353 [fd00::53]:53] false true true 3s 2}"},
		{`"typed_dns_resolver_config": {"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"}}, "use_tcp_for_dns_lookups": true`, "&{[] false false false 0s 0}"},
		{`"dns_resolution_config": {` + servers + `, ` + options + `}`, "&{[10.0.0.53:5353 [fd00::53]:53] false true true 0s 0}"},
		{`"dns_resolvers": [{"socket_address": {"address": "10.0.0.53", "port_value": 53, "protocol": "UDP"}}]`, "&{[10.0.0.53:53] false false false 0s 0}"},
		{`"use_tcp_for_dns_lookups": true`, "&{[] false true false 0s 0}"},
		{`"typed_dns_resolver_config": ` + cares + `"rotate_nameservers": true}}`, "rotate_nameservers: this field is not supported"},
		{`"typed_dns_resolver_config": ` + cares + `"resolvers": [{"socket_address": {"address": "dns.test", "port_value": 53}}]}}`, "the IP address of a name server is wanted"},
		{`"typed_dns_resolver_config": {"name": "apple", "typed_config": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster"}}`, `DNS resolver "apple"`},
	} {
		c, err := readCluster(t, tc.fields)
		got := ""
		if err != nil {
			got = err.Error()
		} else if got = fmt.Sprint(c.DNS.Resolver); c.DNS.Resolver != nil {
			got = fmt.Sprintf("&%v", *c.DNS.Resolver)
		}
		if !strings.Contains(got, tc.want) {
			t.Errorf("%s: %s, want %s", tc.fields, got, tc.want)
		}
	}
}

func TestConnectionFieldsThatAreRefused(t *testing.T) {
	const v4, v6 = `{"address": "10.0.0.1", "port_value": 0}`, `{"address": "fd00::1", "port_value": 0}`
	pipe := `"load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": "/x"}},
		"additional_addresses": [{"address": {"socket_address": {"address": "10.0.0.2", "port_value": 81}}}]}}]}]}`
	for _, tc := range []struct{ fields, want string }{
		{`"upstream_bind_config": {"source_address": ` + v4 + `, "extra_source_addresses": [{"address": ` + v4 + `}]}`, "must be of the other family"},
		{`"upstream_bind_config": {"source_address": ` + v4 + `, "extra_source_addresses": [{"address": ` + v6 + `}, {"address": ` + v6 + `}]}`, "one address is possible"},
		{`"upstream_bind_config": {"extra_source_addresses": [{"address": ` + v6 + `}]}`, "needs a source_address"},
		{`"upstream_bind_config": {"source_address": ` + v4 + `, "socket_options": [{"level": 1, "name": 2, "int_value": "3", "state": "STATE_LISTENING"}]}`, "does not listen"},
		{`"upstream_bind_config": {"source_address": ` + v4 + `, "local_address_selector": {"name": "x"}}`, "local_address_selector: this field is not supported"},
		{pipe, "only IP addresses can be several"},
		{`"type": "STRICT_DNS", ` + strings.Replace(pipe, `{"pipe": {"path": "/x"}}`, `{"socket_address": {"address": "a.test", "port_value": 80}}`, 1), "has no place where names are resolved"},
		{`"track_cluster_stats": {"per_endpoint_stats": true}`, "per_endpoint_stats: this field is not supported"},
		{`"load_assignment": {"cluster_name": "c", "endpoints": [{"leds_cluster_locality_config": {"leds_collection_name": "x"}}]}`, "leds_cluster_locality_config: this field is not supported"},
	} {
		if _, err := readCluster(t, tc.fields); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.fields, err, tc.want)
		}
	}
}
