package model

import "testing"

// TestRulePrecedence: the client's namespace, then the service's, then the root's; in each the
// most specific host; of that the rule that selects the client, else the newest that is for all.
func TestRulePrecedence(t *testing.T) {
	s := &Snapshot{Mesh: DefaultMesh()}
	const host = "a.server.svc.cluster.local"
	byKey := map[string][]*DestinationRule{}
	rule := func(name, ns, host string, export ExportTo, selector map[string]string) {
		byKey[ns+"/"+host] = append(byKey[ns+"/"+host], &DestinationRule{Namespace: ns, Host: host, Name: name, ExportTo: export, WorkloadSelector: selector})
	}
	rule("client", "client", "*.svc.cluster.local", nil, nil)
	rule("server", "server", host, nil, nil)
	rule("server-wild", "server", "*.server.svc.cluster.local", nil, nil)
	rule("root", "istio-system", "*", nil, nil)
	rule("root-private", "istio-system", "*.private.svc.cluster.local", ExportTo{"istio-system"}, nil)
	rule("hidden", "hidden", host, ExportTo{"hidden"}, nil)
	rule("shown", "some", host, ExportTo{"a", "b"}, nil)
	rule("some-wild", "some", "*", nil, nil)
	rule("selects", "select", host, nil, map[string]string{"app": "web"})
	rule("all-old", "select", host, nil, nil)
	rule("all-new", "select", host, ExportTo{"select"}, nil)
	rule("only-selects", "picky", host, nil, map[string]string{"app": "web"})
	var edits []Edit[[]*DestinationRule]
	for k, v := range byKey {
		edits = append(edits, Edit[[]*DestinationRule]{Key: k, Value: v})
	}
	s.MergedRules = s.MergedRules.Apply(edits)

	web := map[string]string{"app": "web", "version": "v1"}
	for _, c := range []struct {
		why, host, serviceNS, proxyNS string
		labels                        map[string]string
		want                          string
	}{
		{"the client's namespace first", host, "server", "client", nil, "client"},
		{"then the service's", host, "server", "else", nil, "server"},
		{"the service's own", host, "server", "server", nil, "server"},
		{"a rule that is not exported", host, "hidden", "else", nil, "root"},
		{"and its own namespace", host, "hidden", "hidden", nil, "hidden"},
		{"rules of the root namespace are defaults, to itself too", host, "server", "istio-system", nil, "server"},
		{"unless they are for it alone", "b.private.svc.cluster.local", "private", "istio-system", nil, "root-private"},
		{"which others do not get", "b.private.svc.cluster.local", "private", "else", nil, "root"},
		{"exported by name", host, "some", "b", nil, "shown"},
		{"the most specific host counts though it is not shown to the client", host, "some", "else", nil, "root"},
		{"a rule that selects the client", host, "select", "select", web, "selects"},
		{"one that does not", host, "select", "select", map[string]string{"app": "db"}, "all-new"},
		{"selectors mean nothing to other namespaces", host, "select", "else", web, "all-old"},
		{"nothing but a selector that does not match", host, "picky", "picky", nil, ""},
		{"a host without any rule", "x.example", "nowhere", "else", nil, "root"},
	} {
		got := s.Rule(c.host, c.serviceNS, c.proxyNS, c.labels)
		if name := nameOf(got); name != c.want {
			t.Errorf("%s: got %q, want %q", c.why, name, c.want)
		}
	}
}

func nameOf(r *DestinationRule) string {
	if r == nil {
		return ""
	}
	return r.Name
}
