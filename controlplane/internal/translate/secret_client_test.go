package translate

import (
	"maps"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// TestClientCredentials: which proxies a destination rule with credentialName lets read which secrets.
func TestClientCredentials(t *testing.T) {
	tls := func(mode model.TLSKind, skip bool) *model.TrafficPolicy {
		return &model.TrafficPolicy{TLS: &model.ClientTLS{Mode: mode, Credential: "kubernetes://c", InsecureSkipVerify: skip}}
	}
	mutual := tls(model.TLSMutual, false)
	chosen := map[string]string{"app": "chosen"}
	both := []string{"kubernetes://c", "kubernetes://c-cacert"}
	for _, c := range []struct {
		why    string
		rule   model.DestinationRule
		kind   model.ProxyType
		ns     string
		labels map[string]string
		want   []string
	}{
		{"a gateway, by a rule that everybody sees", model.DestinationRule{Namespace: "shop", Policy: mutual}, model.Router, "edge", nil, both},
		{"by a rule that is not shown to it", model.DestinationRule{Namespace: "shop", ExportTo: model.ExportTo{"shop"}, Policy: mutual}, model.Router, "edge", nil, nil},
		{"by its own namespace's", model.DestinationRule{Namespace: "edge", ExportTo: model.ExportTo{}, Policy: mutual}, model.Router, "edge", nil, both},
		{"by a rule for others", model.DestinationRule{Namespace: "edge", WorkloadSelector: chosen, Policy: mutual}, model.Router, "edge", nil, nil},
		{"a sidecar", model.DestinationRule{Namespace: "shop", Policy: mutual}, model.Sidecar, "shop", nil, nil},
		{"a sidecar that the rule names", model.DestinationRule{Namespace: "shop", WorkloadSelector: chosen, Policy: mutual}, model.Sidecar, "shop", chosen, both},
		{"one of another namespace with such labels", model.DestinationRule{Namespace: "shop", WorkloadSelector: chosen, Policy: mutual}, model.Sidecar, "edge", chosen, nil},
		{"roots alone", model.DestinationRule{Namespace: "edge", Policy: tls(model.TLSSimple, false)}, model.Router, "edge", nil, both[1:]},
		{"nothing to check with", model.DestinationRule{Namespace: "edge", Policy: tls(model.TLSMutual, true)}, model.Router, "edge", nil, both[:1]},
		{"a mode that reads no secret", model.DestinationRule{Namespace: "edge", Policy: tls(model.TLSIstioMutual, false)}, model.Router, "edge", nil, nil},
		{"a subset's settings for a port", model.DestinationRule{Namespace: "edge", Subsets: []model.Subset{{Policy: &model.TrafficPolicy{Ports: []model.PortPolicy{{Port: 1, Policy: *mutual}}}}}},
			model.Router, "edge", nil, both},
	} {
		s := &model.Snapshot{Mesh: model.DefaultMesh()}
		s.MergedRules = s.MergedRules.Apply([]model.Edit[[]*model.DestinationRule]{{Key: c.rule.Namespace + "/host", Value: []*model.DestinationRule{&c.rule}}})
		got := clientCredentials(s, &model.Proxy{Type: c.kind, Namespace: c.ns, Labels: c.labels})
		if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, c.want) {
			t.Errorf("%s: %v, want %v", c.why, names, c.want)
		}
	}
}
