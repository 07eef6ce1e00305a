package snapshot

import (
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

func registration(ports []uint32, addresses ...string) *model.Registration {
	r := &model.Registration{Service: &model.Service{Host: "web.service.consul", Namespace: "default", Name: "web", Registry: "Consul"}}
	for _, p := range ports {
		r.Service.Ports = append(r.Service.Ports, model.Port{Number: p, Protocol: model.ProtocolHTTP})
	}
	for _, a := range addresses {
		r.Instances = append(r.Instances, model.Instance{Address: a, Port: 8080, ServicePort: ports[0], Namespace: "default", Labels: map[string]string{"version": "v1"}, TLS: model.TLSModeIstio})
	}
	return r
}

const registeredKey, registeredHost = "web.service.consul/default", "web.service.consul"

func TestRegistration(t *testing.T) {
	b := New()
	one := []uint32{80}
	s, ch := b.Update(Register("consul", registration(one, "10.0.0.1")))
	set, ok := s.Endpoints.Get(registeredKey)
	if !ok || !slices.Equal(describe(set), []string{"80=10.0.0.1:8080"}) || !ch.Hosts[registeredHost] || !ch.ListenerHosts[registeredHost] {
		t.Fatalf("endpoints %+v, change %+v", set, ch)
	}

	// Endpoints alone: nothing that depends on the service is touched, and the service is the same.
	svc, _ := s.Services.Get(registeredKey)
	s, ch = b.Update(Register("consul", registration(one, "10.0.0.1", "10.0.0.2")))
	if again, _ := s.Services.Get(registeredKey); again != svc || len(ch.Hosts)+len(ch.ListenerHosts) > 0 || !ch.EndpointHosts[registeredHost] {
		t.Errorf("change of endpoints: %+v", ch)
	}
	// Nothing at all.
	if s2, ch := b.Update(Register("consul", registration(one, "10.0.0.1", "10.0.0.2"))); s2 != s || !ch.Empty() {
		t.Errorf("change of nothing: %+v", ch)
	}
	// Another registry with the same host adds its endpoints; the first by name says what the service is.
	s, _ = b.Update(Register("other", registration([]uint32{90}, "10.9.0.1")))
	set, _ = s.Endpoints.Get(registeredKey)
	if want := []string{"80=10.0.0.1:8080", "80=10.0.0.2:8080", "90=10.9.0.1:8080"}; !slices.Equal(describe(set), want) {
		t.Errorf("endpoints of both: %v", describe(set))
	}
	if svc, _ := s.Services.Get(registeredKey); svc.Ports[0].Number != 80 {
		t.Errorf("ports %+v", svc.Ports)
	}
	// Policies and the mesh configuration concern registered services as well.
	s, _ = b.Update(events(t, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: off, namespace: default}\nspec: {mtls: {mode: DISABLE}}\n")...)
	if set, _ = s.Endpoints.Get(registeredKey); set.Instances[0].TLS != model.TLSModeDisabled {
		t.Error("mTLS is disabled, and the endpoint still offers it")
	}
	mesh := model.DefaultMesh()
	mesh.ServiceExportTo = []string{"."}
	s, _ = b.SetMesh(mesh)
	if svc, _ := s.Services.Get(registeredKey); svc.ExportTo.Visible("shop") {
		t.Error("defaultServiceExportTo has no effect")
	}

	s, _ = b.Update(Unregister("consul", registeredKey))
	set, _ = s.Endpoints.Get(registeredKey)
	if svc, _ := s.Services.Get(registeredKey); svc.Ports[0].Number != 90 || !slices.Equal(describe(set), []string{"90=10.9.0.1:8080"}) {
		t.Errorf("the other registry's word is %v", describe(set))
	}
	s, ch = b.Update(Unregister("other", registeredKey))
	if _, ok := s.Services.Get(registeredKey); ok || !ch.Hosts[registeredHost] {
		t.Error("the service is still there")
	}
	if _, ok := s.Endpoints.Get(registeredKey); ok {
		t.Error("its endpoints are still there")
	}
	if s2, ch := b.Update(Unregister("other", registeredKey)); s2 != s || !ch.Empty() {
		t.Error("what is not there was taken away")
	}
}

// TestWrittenComesBeforeRegistered: a ServiceEntry for the same host and namespace counts, with its own endpoints.
func TestWrittenComesBeforeRegistered(t *testing.T) {
	b := New()
	b.Update(Register("consul", registration([]uint32{80}, "10.0.0.1")))
	s, _ := b.Update(events(t, "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: web, namespace: default}\nspec: {hosts: [web.service.consul], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 10.7.0.1}]}\n")...)
	set, _ := s.Endpoints.Get(registeredKey)
	if svc, _ := s.Services.Get(registeredKey); svc.Registry != "" || !slices.Equal(describe(set), []string{"80=10.7.0.1:80"}) {
		t.Errorf("endpoints %v", describe(set))
	}
}

// TestPlacedByARegistry: where a Service without a selector is says a registry, for the ports that the Service has.
func TestPlacedByARegistry(t *testing.T) {
	const key = "db.shop.svc.cluster.local/shop"
	service := func(spec string) []Event {
		return events(t, "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {"+spec+"}\n")
	}
	const ports = "ports: [{name: tcp, port: 5432, targetPort: 15432}, {name: admin, port: 80}, {name: dns, port: 53, protocol: UDP}]"
	given := &model.Registration{
		Placed: true, Service: &model.Service{Host: "db.shop.svc.cluster.local", Namespace: "shop", Name: "db"},
		Instances: []model.Instance{
			{Address: "192.0.2.1", Ports: map[string]uint32{"tcp": 5433, "dns": 53}}, {Address: "192.0.2.2", Ports: map[string]uint32{"tcp": 5433, "admin": 8080}, Unhealthy: true},
			{Address: "192.0.2.3", Ports: map[string]uint32{"": 7}},
		},
	}
	b := New()
	s, _ := b.Update(Register("kubernetes", given))
	if s.Services.Len()+s.Endpoints.Len() != 0 {
		t.Error("a Service that is not there is somewhere")
	}
	for _, tc := range []struct {
		name, spec string
		want       []string
	}{
		{"ports by their names", ports, []string{"5432=192.0.2.1:5433", "5432=192.0.2.2:5433 unhealthy", "80=192.0.2.2:8080 unhealthy"}},
		{"published though not ready", "publishNotReadyAddresses: true, " + ports, []string{"5432=192.0.2.1:5433", "5432=192.0.2.2:5433", "80=192.0.2.2:8080"}},
		{"one that chooses workloads", "selector: {app: db}, " + ports, nil},
		{"a port without a name", "ports: [{port: 5432}]", []string{"5432=192.0.2.3:7"}},
		{"one that is a name", "type: ExternalName, externalName: db.example.com, ports: [{port: 5432}]", []string{"5432=db.example.com:5432"}},
		{"a port that nobody has", "ports: [{port: 5432, name: other}]", nil},
	} {
		s, _ := b.Update(service(tc.spec)...)
		var got []string
		if set, _ := s.Endpoints.Get(key); set != nil {
			for i, line := range describe(set) {
				if set.Instances[i].Unhealthy {
					line += " unhealthy"
				}
				if set.Instances[i].Ports != nil {
					t.Errorf("%s: the map of ports is still there", tc.name)
				}
				got = append(got, line)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	// The endpoints change, and go.
	s, _ = b.Update(append(service(ports), Register("kubernetes", &model.Registration{Placed: true, Service: given.Service, Instances: given.Instances[:1]}))...)
	if set, _ := s.Endpoints.Get(key); !slices.Equal(describe(set), []string{"5432=192.0.2.1:5433"}) {
		t.Errorf("endpoints %v", describe(set))
	}
	s, _ = b.Update(Unregister("kubernetes", key))
	if set, _ := s.Endpoints.Get(key); len(set.Instances) != 0 {
		t.Errorf("endpoints %v", describe(set))
	}
	// A ServiceEntry of the same name says itself where it is.
	s, _ = New().Update(append(events(t, "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: db, namespace: shop}\nspec: {hosts: [db.shop.svc.cluster.local], ports: [{number: 5432, name: tcp, protocol: TCP}], resolution: STATIC, endpoints: [{address: 192.0.2.9}]}\n"), Register("kubernetes", given))...)
	if set, _ := s.Endpoints.Get(key); !slices.Equal(describe(set), []string{"5432=192.0.2.9:5432"}) {
		t.Errorf("endpoints %v", describe(set))
	}
}
