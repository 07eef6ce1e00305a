package consul

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// entry is an instance in the words of Consul's API, with a node and a passing check of it.
func entry(t testing.TB, service string) *api.ServiceEntry {
	t.Helper()
	e := &api.ServiceEntry{
		Node:    &api.Node{Node: "n1", Address: "10.0.0.1", Datacenter: "dc1"},
		Service: &api.AgentService{ID: "web-1", Service: "web", Weights: api.AgentWeights{Passing: 1, Warning: 1}},
		Checks:  api.HealthChecks{{CheckID: "serfHealth", Status: api.HealthPassing}},
	}
	if err := json.Unmarshal([]byte(service), e); err != nil {
		t.Fatalf("%s: %v", service, err)
	}
	return e
}

var protocolNames = map[model.Protocol]string{
	model.ProtocolAuto: "auto", model.ProtocolTCP: "tcp", model.ProtocolHTTP: "http", model.ProtocolHTTP2: "http2", model.ProtocolGRPC: "grpc",
	model.ProtocolTLS: "tls", model.ProtocolHTTPS: "https",
}

// describe gives a registration in lines: the service with its ports, then its endpoints.
func describe(r *model.Registration) []string {
	if r == nil {
		return nil
	}
	s := r.Service
	line := s.Host + "/" + s.Namespace
	for _, p := range s.Ports {
		line += fmt.Sprintf(" %d:%s", p.Number, protocolNames[p.Protocol])
	}
	if s.External {
		line += " external"
	}
	if s.Resolution == model.ResolutionDNS {
		line += " dns"
	}
	if len(s.Addresses) > 0 {
		line += " at " + strings.Join(s.Addresses, ",")
	}
	out := []string{line}
	for _, in := range r.Instances {
		line := fmt.Sprintf("%d=%s:%d", in.ServicePort, in.Address, in.Port)
		if in.Unhealthy {
			line += " unhealthy"
		}
		if in.Weight != 1 {
			line += fmt.Sprintf(" weight %d", in.Weight)
		}
		if in.TLS == model.TLSModeIstio {
			line += " mtls"
		}
		if in.ServiceAccount != "" {
			line += " sa " + in.ServiceAccount
		}
		if l := strings.TrimRight(in.Locality.Region+"/"+in.Locality.Zone, "/"); l != "dc1" {
			line += " in " + l
		}
		out = append(out, line)
	}
	return out
}

func TestRegistration(t *testing.T) {
	plain := scope{domain: "consul"}
	for _, tt := range []struct {
		name     string
		scope    scope
		entries  []string
		want     []string
		problems []string
	}{
		{"address and port", plain, []string{`{"Service": {"Address": "10.1.1.1", "Port": 8080}}`},
			[]string{"web.service.consul/default 8080:auto", "8080=10.1.1.1:8080"}, nil},
		{"address of the node", plain, []string{`{"Service": {"Port": 8080}}`},
			[]string{"web.service.consul/default 8080:auto", "8080=10.0.0.1:8080"}, nil},
		{"protocol in metadata", plain, []string{`{"Service": {"Port": 8080, "Meta": {"protocol": "HTTP"}}}`},
			[]string{"web.service.consul/default 8080:http", "8080=10.0.0.1:8080"}, nil},
		{"protocol in a tag", plain, []string{`{"Service": {"Port": 8080, "Tags": ["protocol|grpc"]}}`},
			[]string{"web.service.consul/default 8080:grpc", "8080=10.0.0.1:8080"}, nil},
		{"protocol unknown", plain, []string{`{"Service": {"Port": 8080, "Meta": {"protocol": "gopher"}}}`},
			nil, []string{`protocol "gopher" is unknown; known are http`, "no port"}},
		{"called by another port", plain, []string{`{"Service": {"Port": 23456, "Meta": {"port": "80", "protocol": "http"}}}`, `{"Service": {"ID": "web-2", "Port": 23999, "Meta": {"port": "80", "protocol": "http"}}}`},
			[]string{"web.service.consul/default 80:http", "80=10.0.0.1:23456", "80=10.0.0.1:23999"}, nil},
		{"each instance its own port", plain, []string{`{"Service": {"Port": 1001}}`, `{"Service": {"ID": "web-2", "Port": 1002}}`},
			[]string{"web.service.consul/default 1001:auto 1002:auto", "1001=10.0.0.1:1001", "1002=10.0.0.1:1002"}, nil},
		{"ports in metadata", plain, []string{`{"Service": {"Port": 8080, "Meta": {"port-grpc-api": "9090", "port-http-admin": "81:8081"}}}`},
			[]string{"web.service.consul/default 81:http 8080:auto 9090:grpc", "8080=10.0.0.1:8080", "9090=10.0.0.1:9090", "81=10.0.0.1:8081"}, nil},
		{"ports of Consul", plain, []string{`{"Service": {"Ports": [{"Name": "http", "Port": 8080, "Default": true}, {"Name": "grpc", "Port": 9090}, {"Name": "tcp-admin", "Port": 9999}], "Meta": {"port": "80", "port-grpc": "90"}}}`},
			[]string{"web.service.consul/default 80:http 90:grpc 9999:tcp", "80=10.0.0.1:8080", "90=10.0.0.1:9090", "9999=10.0.0.1:9999"}, nil},
		{"bad ports", plain, []string{`{"Service": {"Port": 8080, "Meta": {"port-x": "many", "port-y": "1:70000", "port-z": "8080"}}}`},
			[]string{"web.service.consul/default 8080:auto", "8080=10.0.0.1:8080"}, []string{`port-x: "many" is no port`, `port-y: "70000" is no port`, "port 8080 is given twice"}},
		{"no port", plain, []string{`{}`}, nil, []string{"instance web-1 has no port"}},
		{"protocols that disagree", plain, []string{`{"Service": {"Port": 80, "Meta": {"protocol": "http"}}}`, `{"Service": {"ID": "web-2", "Port": 80, "Meta": {"protocol": "tcp"}}}`},
			[]string{"web.service.consul/default 80:http", "80=10.0.0.1:80", "80=10.0.0.1:80"}, []string{"instance web-2: port 80 has another protocol"}},
		{"udp", plain, []string{`{"Service": {"Port": 53, "Meta": {"protocol": "udp"}}}`}, nil, []string{"UDP, which is not proxied"}},

		{"critical", plain, []string{`{"Service": {"Port": 80}, "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "service:web-1", "Status": "critical"}]}`},
			[]string{"web.service.consul/default 80:auto", "80=10.0.0.1:80 unhealthy"}, nil},
		{"node critical", plain, []string{`{"Service": {"Port": 80}, "Checks": [{"CheckID": "serfHealth", "Status": "critical"}]}`},
			[]string{"web.service.consul/default 80:auto", "80=10.0.0.1:80 unhealthy"}, nil},
		{"maintenance", plain, []string{`{"Service": {"Port": 80}, "Checks": [{"CheckID": "_service_maintenance:web-1", "Status": "critical"}]}`},
			[]string{"web.service.consul/default 80:auto", "80=10.0.0.1:80 unhealthy"}, nil},
		{"warning", plain, []string{`{"Service": {"Port": 80, "Weights": {"Passing": 10, "Warning": 2}}, "Checks": [{"Status": "warning"}]}`},
			[]string{"web.service.consul/default 80:auto", "80=10.0.0.1:80 weight 2"}, nil},
		{"weight", plain, []string{`{"Service": {"Port": 80, "Weights": {"Passing": 10, "Warning": 2}}}`},
			[]string{"web.service.consul/default 80:auto", "80=10.0.0.1:80 weight 10"}, nil},
		{"no checks", plain, []string{`{"Service": {"Port": 80}, "Checks": []}`}, []string{"web.service.consul/default 80:auto", "80=10.0.0.1:80"}, nil},

		{"identity", plain, []string{`{"Service": {"Port": 80, "Meta": {"tls-mode": "istio", "service-account": "webapp"}}}`},
			[]string{"web.service.consul/default 80:auto", "80=10.0.0.1:80 mtls sa webapp"}, nil},
		{"identity in tags", plain, []string{`{"Service": {"Port": 80, "Tags": ["security.istio.io/tlsMode|istio"]}}`},
			[]string{"web.service.consul/default 80:auto", "80=10.0.0.1:80 mtls"}, nil},
		{"external", plain, []string{`{"Node": {"Meta": {"external-node": "true"}}, "Service": {"Port": 443, "Address": "api.example.com", "Meta": {"tls-mode": "istio"}}}`},
			[]string{"web.service.consul/default 443:auto external dns", "443=api.example.com:443"}, nil},
		{"locality", plain, []string{`{"Service": {"Port": 80, "Locality": {"Region": "eu", "Zone": "eu-1"}}}`},
			[]string{"web.service.consul/default 80:auto", "80=10.0.0.1:80 in eu/eu-1"}, nil},
		{"socket", plain, []string{`{"Service": {"SocketPath": "/run/web.sock", "Meta": {"port": "8080"}}}`},
			[]string{"web.service.consul/default 8080:auto", "8080=unix:///run/web.sock:0"}, nil},
		{"bad address", plain, []string{`{"Service": {"Port": 80, "Address": "not an address"}}`, `{"Service": {"ID": "web-2", "Port": 80, "Address": "0.0.0.0"}}`},
			nil, []string{`"not an address" is neither`, `"0.0.0.0" is no address that can be reached`}},
		{"Consul's own proxies", plain, []string{`{"Service": {"Kind": "connect-proxy", "Port": 20000}}`, `{"Service": {"Kind": "mesh-gateway", "Port": 20001}}`}, nil, nil},
		{"virtual address", plain, []string{`{"Service": {"Port": 80, "TaggedAddresses": {"consul-virtual": {"Address": "240.0.0.1", "Port": 80}}}}`},
			[]string{"web.service.consul/default 80:auto at 240.0.0.1", "80=10.0.0.1:80"}, nil},

		{"tagged address", scope{domain: "consul", tagged: "wan"}, []string{
			`{"Service": {"Port": 80, "Address": "10.1.1.1", "TaggedAddresses": {"wan": {"Address": "198.51.100.1", "Port": 8000}}}}`,
			`{"Service": {"ID": "web-2", "Port": 80, "Address": "10.1.1.2"}}`,
			`{"Node": {"TaggedAddresses": {"wan": "198.51.100.3"}}, "Service": {"ID": "web-3", "Port": 80}}`},
			[]string{"web.service.consul/default 80:auto 8000:auto", "8000=198.51.100.1:8000", "80=10.1.1.2:80", "80=198.51.100.3:80"}, nil},
		{"datacenter", scope{domain: "consul", datacenter: "dc2"}, []string{`{"Node": {"Datacenter": "dc2"}, "Service": {"Port": 80}}`},
			[]string{"web.service.dc2.consul/default 80:auto", "80=10.0.0.1:80 in dc2"}, nil},
		{"namespace", scope{domain: "consul", namespace: "shop"}, []string{`{"Service": {"Port": 80}}`},
			[]string{"web.service.shop.ns.consul/shop 80:auto", "80=10.0.0.1:80"}, nil},
		{"everything", scope{domain: "mesh.example", namespace: "shop", partition: "p1", datacenter: "dc2"}, []string{`{"Service": {"Port": 80}}`},
			[]string{"web.service.shop.ns.p1.ap.dc2.dc.mesh.example/shop 80:auto", "80=10.0.0.1:80"}, nil},
		{"defaults are not named", scope{domain: "consul", namespace: "default", partition: "default"}, []string{`{"Service": {"Port": 80}}`},
			[]string{"web.service.consul/default 80:auto", "80=10.0.0.1:80"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var entries []*api.ServiceEntry
			for _, text := range tt.entries {
				entries = append(entries, entry(t, text))
			}
			r, problems := tt.scope.registration("web", entries)
			if d := cmp.Diff(tt.want, describe(r)); d != "" {
				t.Errorf("registration (-want +got):\n%s", d)
			}
			if len(problems) != len(tt.problems) {
				t.Fatalf("problems %q, want %q", problems, tt.problems)
			}
			for i, p := range tt.problems {
				if !strings.Contains(problems[i], p) {
					t.Errorf("problem %q, want %q", problems[i], p)
				}
			}
			// The order in which Consul gives instances says nothing.
			slices.Reverse(entries)
			if again, _ := tt.scope.registration("web", entries); !cmp.Equal(describe(r), describe(again)) {
				t.Errorf("in the other order: %q", describe(again))
			}
		})
	}
}

func TestLabels(t *testing.T) {
	e := entry(t, `{"Service": {"Port": 80, "Tags": ["version|v1", "track=stable", "canary", "", "version|v9", "|x", "stage|from-tag"], "Meta": {"stage": "from-meta"}}}`)
	r, _ := scope{domain: "consul"}.registration("web", []*api.ServiceEntry{e})
	want := map[string]string{
		"version": "v1", "track": "stable", "tag/canary": "true", "tag/|x": "true", "stage": "from-meta", "service.istio.io/canonical-name": "web",
	}
	if got := r.Instances[0].Labels; !maps.Equal(got, want) {
		t.Errorf("labels %v, want %v", got, want)
	}
}

func TestHost(t *testing.T) {
	s := scope{domain: "consul"}
	for name, want := range map[string]string{
		"web": "web.service.consul", "Web": "web.service.consul", "a_b": "a_b.service.consul", "a.b": "a.b.service.consul",
		"": "", "a b": "", "a/../b": "", "a?dc=x": "", "*": "", "-a": "", strings.Repeat("a", 64): "", "a..b": "",
	} {
		host, ok := s.host(name)
		if name == "" {
			continue // Consul refuses it
		}
		if ok != (want != "") || ok && host != want {
			t.Errorf("%q: host %q, %v; want %q", name, host, ok, want)
		}
	}
}

// FuzzRegistration: whatever an agent answers, the registration is one that can be served.
func FuzzRegistration(f *testing.F) {
	f.Add(`[{"Node": {"Node": "n", "Address": "10.0.0.1"}, "Service": {"ID": "a", "Service": "a", "Port": 80, "Tags": ["a|b"], "Meta": {"port-x": "1:2"}}, "Checks": [{"Status": "warning"}]}]`)
	f.Add(`[null, {}, {"Node": null, "Service": {}}, {"Node": {}, "Service": {"Port": -1, "SocketPath": "x", "Weights": {"Passing": -5}}}]`)
	f.Add(`[{"Node": {"Address": "::1%eth0"}, "Service": {"Ports": [{"Name": "", "Port": 99999999}, {"Name": "a", "Port": 1, "Default": true}]}}]`)
	f.Fuzz(func(t *testing.T, text string) {
		var entries []*api.ServiceEntry
		if json.Unmarshal([]byte(text), &entries) != nil {
			return
		}
		r, _ := scope{domain: "consul", tagged: "wan"}.registration("web", entries)
		if r == nil {
			return
		}
		numbers := map[uint32]bool{}
		for _, p := range r.Service.Ports {
			if p.Number == 0 || p.Number > 65535 || numbers[p.Number] {
				t.Errorf("port %d of %v", p.Number, r.Service.Ports)
			}
			numbers[p.Number] = true
		}
		for _, in := range r.Instances {
			if !numbers[in.ServicePort] || in.Port > 65535 || in.Port == 0 && !strings.HasPrefix(in.Address, "unix://") || in.Address == "" || in.Weight > 65535 {
				t.Errorf("endpoint %+v", in)
			}
		}
	})
}
