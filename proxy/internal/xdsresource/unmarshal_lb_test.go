package xdsresource

import (
	"reflect"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// readCluster decodes a cluster from JSON fields beside its name.
func readCluster(t *testing.T, fields string) (*Cluster, error) {
	t.Helper()
	m := &clusterv3.Cluster{}
	if err := protojson.Unmarshal([]byte(`{"name": "c", `+fields+`}`), m); err != nil {
		t.Fatal(err)
	}
	return NewDecoder(Extensions{}).Cluster(m)
}

const policies = `"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.`

// typed is a load_balancing_policy with one policy.
func typed(policy string) string {
	return `{"policies": [{"typed_extension_config": {"name": "x", "typed_config": {` + policies + policy + `}}}]}`
}

// TestBothFormsOfBalancing: lb_policy with its fields, and the typed policy, mean the same.
func TestBothFormsOfBalancing(t *testing.T) {
	def := defaultLB()
	with := func(f func(*LoadBalancing)) LoadBalancing {
		l := def
		f(&l)
		return l
	}
	slow := `{"slow_start_window": "60s", "aggression": {"default_value": 2, "runtime_key": "x"}, "min_weight_percent": {"value": 25}}`
	zone := `"zone_aware_lb_config": {"routing_enabled": {"value": 80}, "min_cluster_size": 3, "fail_traffic_on_panic": true}`
	slowStart := SlowStart{Window: time.Minute, Aggression: Double{Default: 2}, MinWeight: 0.25}
	zoneAware := ZoneAware{RoutingEnabled: 80, MinClusterSize: 3, FailTrafficOnPanic: true}
	for _, tt := range []struct {
		name, old, new string
		want           LoadBalancing
	}{
		{"defaults", ``, `round_robin.v3.RoundRobin"`, def},
		{
			"round robin", `"round_robin_lb_config": {"slow_start_config": ` + slow + `}, "common_lb_config": {` + zone + `}`,
			`round_robin.v3.RoundRobin", "slow_start_config": ` + slow + `, "locality_lb_config": {` + zone + `}`,
			with(func(l *LoadBalancing) { l.SlowStart, l.Zone = slowStart, zoneAware }),
		},
		{
			"least request", `"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 4, "active_request_bias": {"default_value": 0.5, "runtime_key": "x"}}, "common_lb_config": {"locality_weighted_lb_config": {}}`,
			`least_request.v3.LeastRequest", "choice_count": 4, "active_request_bias": {"default_value": 0.5, "runtime_key": "x"}, "locality_lb_config": {"locality_weighted_lb_config": {}}`,
			with(func(l *LoadBalancing) {
				l.Policy, l.Choices, l.Bias, l.LocalityWeighted = LBLeastRequest, 4, Double{Default: 0.5}, true
			}),
		},
		{"random", `"lb_policy": "RANDOM"`, `random.v3.Random"`, with(func(l *LoadBalancing) { l.Policy = LBRandom })},
		{
			"ring hash", `"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "64", "maximum_ring_size": "128", "hash_function": "MURMUR_HASH_2"}, "common_lb_config": {"consistent_hashing_lb_config": {"use_hostname_for_hashing": true, "hash_balance_factor": 150}}`,
			`ring_hash.v3.RingHash", "minimum_ring_size": "64", "maximum_ring_size": "128", "hash_function": "MURMUR_HASH_2", "consistent_hashing_lb_config": {"use_hostname_for_hashing": true, "hash_balance_factor": 150}`,
			with(func(l *LoadBalancing) {
				l.Policy, l.RingMinSize, l.RingMaxSize, l.Murmur, l.HashHostname, l.HashBalanceFactor = LBRingHash, 64, 128, true, true, 150
			}),
		},
		{
			"maglev", `"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": "251"}`, `maglev.v3.Maglev", "table_size": "251"`,
			with(func(l *LoadBalancing) { l.Policy, l.MaglevTableSize = LBMaglev, 251 }),
		},
	} {
		old, err := readCluster(t, `"connect_timeout": "1s"`+comma(tt.old))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		typed, err := readCluster(t, `"load_balancing_policy": `+typed(tt.new))
		if err != nil {
			t.Errorf("%s, typed: %v", tt.name, err)
			continue
		}
		if !reflect.DeepEqual(old.LB, tt.want) || !reflect.DeepEqual(typed.LB, tt.want) {
			t.Errorf("%s: %+v\n%+v, want\n%+v", tt.name, old.LB, typed.LB, tt.want)
		}
	}
}

func comma(s string) string {
	if s == "" {
		return ""
	}
	return ", " + s
}

// TestNestedPolicies: subsets over localities by weight over a policy; unknown ones are
// passed over as long as one is known.
func TestNestedPolicies(t *testing.T) {
	inner := typed(`wrr_locality.v3.WrrLocality", "endpoint_picking_policy": ` + typed(`least_request.v3.LeastRequest", "selection_method": "FULL_SCAN"`))
	c, err := readCluster(t, `"load_balancing_policy": `+typed(`subset.v3.Subset", "fallback_policy": "ANY_ENDPOINT", "allow_redundant_keys": true,
		"subset_selectors": [{"keys": ["b", "a"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["a"]}], "subset_lb_policy": `+inner))
	if err != nil {
		t.Fatal(err)
	}
	s := c.LB.Subset
	if c.LB.Policy != LBLeastRequest || !c.LB.FullScan || !c.LB.LocalityWeighted || s.Fallback != SubsetAnyEndpoint || !s.AllowRedundantKeys ||
		s.Selectors[0].Fallback != SubsetKeys || strings.Join(s.Selectors[0].Keys, ",") != "a,b" {
		t.Errorf("%+v %+v", c.LB, s)
	}
	c, err = readCluster(t, `"load_balancing_policy": {"policies": [{"typed_extension_config": {"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}},
		{"typed_extension_config": {"name": "y", "typed_config": {`+policies+`random.v3.Random"}}}]}`)
	if err != nil || c.LB.Policy != LBRandom {
		t.Errorf("%v %+v", err, c)
	}
}

func TestBadBalancing(t *testing.T) {
	deep := typed(`round_robin.v3.RoundRobin"`)
	for range 5 {
		deep = typed(`wrr_locality.v3.WrrLocality", "endpoint_picking_policy": ` + deep)
	}
	for fields, want := range map[string]string{
		`"load_balancing_policy": {}`: "load_balancing_policy.policies: none of the policies is supported",
		`"load_balancing_policy": {"policies": [{"typed_extension_config": {"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}}]}`: "v3.Router",
		`"load_balancing_policy": ` + deep:                                                                                             "nested too deep",
		`"load_balancing_policy": ` + typed(`cluster_provided.v3.ClusterProvided"`):                                                    "CLUSTER_PROVIDED goes with",
		`"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "9", "maximum_ring_size": "8"}`:                        "ring_hash_lb_config.minimum_ring_size",
		`"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": "12"}`:                                                              "not a prime",
		`"round_robin_lb_config": {"slow_start_config": {"slow_start_window": "1s", "aggression": {"runtime_key": "x"}}}`:              "aggression: must be greater than 0",
		`"lb_subset_config": {"subset_selectors": [{"keys": ["a", "b"], "single_host_per_subset": true}]}`:                             "exactly one key",
		`"lb_subset_config": {"subset_selectors": [{"keys": ["a"], "fallback_policy": "KEYS_SUBSET"}]}`:                                "fallback_keys_subset: is required",
		`"lb_subset_config": {"subset_selectors": [{"keys": ["a"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["b"]}]}`: `"b" is not among`,
		`"lb_subset_config": {"subset_selectors": [{"keys": ["a"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["a"]}]}`: "leave at least one",
		`"lb_subset_config": {"panic_mode_any": true, "subset_selectors": [{"keys": ["a"]}]}`:                                          "panic_mode_any: needs a fallback_policy",
	} {
		if _, err := readCluster(t, fields); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", fields, err, want)
		}
	}
}

func TestMetadataMatchMerge(t *testing.T) {
	route := NewMetadataMatch(map[string]any{"a": "1", "b": float64(2)})
	over := NewMetadataMatch(map[string]any{"b": "2", "fallback_list": []any{map[string]any{"a": "9"}}})
	m := route.Merge(over)
	if m.Plain.Key != NewMetadataMatch(map[string]any{"a": "1", "b": "2"}).Key {
		t.Errorf("merged %q", m.Plain.Key)
	}
	if len(m.Fallback) != 1 || m.Fallback[0].Key != NewMetadataMatch(map[string]any{"a": "9", "b": "2"}).Key {
		t.Errorf("fallbacks %+v", m.Fallback)
	}
	if route.Merge(nil) != route || (*MetadataMatch)(nil).Merge(over) != over {
		t.Error("merging with nothing changes something")
	}
	if NewMetadataMatch(map[string]any{"a": "1"}).Key == NewMetadataMatch(map[string]any{"a": float64(1)}).Key {
		t.Error("a number matches its digits")
	}
}

func TestHashPoliciesOfClusters(t *testing.T) {
	for _, policy := range []string{"ring_hash.v3.RingHash", "maglev.v3.Maglev"} {
		c, err := readCluster(t, `"load_balancing_policy": `+typed(policy+`", "consistent_hashing_lb_config": {"hash_policy": [{"header": {"header_name": "X-Own"}, "terminal": true}, {"query_parameter": {"name": "q"}}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if want := []HashPolicy{{Header: header.KeyOf("x-own"), Terminal: true}, {Query: "q"}}; !reflect.DeepEqual(c.LB.HashPolicies, want) {
			t.Errorf("%s: %+v", policy, c.LB.HashPolicies)
		}
	}
	_, err := readCluster(t, `"load_balancing_policy": `+typed(`maglev.v3.Maglev", "consistent_hashing_lb_config": {"hash_policy": [{"header": {"header_name": "x", "regex_rewrite": {"pattern": {"regex": "("}}}}]}`))
	if err == nil || !strings.Contains(err.Error(), "load_balancing_policy.policies[0].typed_extension_config.typed_config.consistent_hashing_lb_config.hash_policy[0].header.regex_rewrite") {
		t.Errorf("a pattern that is none: %v", err)
	}
}
