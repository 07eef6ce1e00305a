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
