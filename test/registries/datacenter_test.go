package registries

import (
	"fmt"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/lateen-mesh/lateen/controlplane"
	"github.com/lateen-mesh/lateen/test/internal/consulmesh"
)

// TestDatacenters: an agent is asked for the services of another datacenter, which have that in their host and are reached by their addresses on
// the WAN.
func TestDatacenters(t *testing.T) {
	wan := freePort(t)
	near := start(t, fmt.Sprintf("ports { serf_wan = %d }", wan))
	far := start(t, fmt.Sprintf("datacenter = \"dc2\"\nnode_name = \"far\"\nretry_join_wan = [\"127.0.0.1:%d\"]", wan))
	client := clientOf(t, far)
	if err := client.Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: "db-1", Name: "db", Address: "10.0.0.1", Port: 5432, Meta: map[string]string{"protocol": "tcp"},
		TaggedAddresses: map[string]api.ServiceAddress{"wan": {Address: "198.51.100.1", Port: 15432}},
	}); err != nil {
		t.Fatal(err)
	}
	m := consulmesh.Start(t, near.Addr(), controlplane.ConsulCatalog{Datacenter: "dc2"})
	m.Eventually("the service of the other datacenter is known", func() bool {
		for _, e := range m.Endpoints() {
			if e.Service == "db.service.dc2.consul:15432" {
				return e.Address == "198.51.100.1" && e.Port == 15432 && e.Locality == "dc2"
			}
		}
		return false
	})
}

// TestNamedPorts: several ports of one instance, as Consul knows them and as metadata say.
func TestNamedPorts(t *testing.T) {
	s := start(t, "")
	client := clientOf(t, s)
	if err := client.Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: "api-1", Name: "api", Address: "10.0.0.1", Port: 8080, Meta: map[string]string{"port": "80", "protocol": "http", "port-grpc-admin": "9090"},
	}); err != nil {
		t.Fatal(err)
	}
	want := map[string]uint32{"api.service.consul:80": 8080, "api.service.consul:9090": 9090}
	if err := client.Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: "multi-1", Name: "multi", Address: "10.0.0.2",
		Ports: api.ServicePorts{{Name: "http", Port: 8081, Default: true}, {Name: "grpc", Port: 9091}}, Meta: map[string]string{"port": "80"},
	}); err != nil {
		t.Logf("this Consul knows no named ports: %v", err)
	} else {
		want["multi.service.consul:80"], want["multi.service.consul:9091"] = 8081, 9091
	}
	m := consulmesh.Start(t, s.Addr(), controlplane.ConsulCatalog{})
	m.Eventually(fmt.Sprintf("the ports are %v", want), func() bool {
		got := map[string]uint32{}
		for _, e := range m.Endpoints() {
			got[e.Service] = e.Port
		}
		for name, port := range want {
			if got[name] != port {
				return false
			}
		}
		return true
	})
}

func clientOf(t *testing.T, s *server) *api.Client {
	t.Helper()
	cfg := api.DefaultConfig()
	cfg.Address = s.Addr()
	c, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
