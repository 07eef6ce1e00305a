package translate

import (
	"fmt"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

// registered is what random registries hold: source and key of the service to registration.
type registered map[[2]string]*model.Registration

// registration is a random service of a registry, some of whose instances are the workloads of historyProxies.
func (d dice) registration() *model.Registration {
	svc := &model.Service{
		Host: d.of("ext.example.com", "web.service.consul", "b.other.svc.cluster.local"), Namespace: d.namespace(), Name: "web", Registry: d.of("Consul", "Nomad"),
		External: d.IntN(5) == 0, Origin: model.Origin{Kind: "ConsulService", Name: "web", File: d.of("x", "y")},
	}
	if d.IntN(5) == 0 {
		svc.Resolution = model.ResolutionDNS
	}
	for _, number := range []uint32{80, 81} {
		if d.IntN(3) > 0 {
			svc.Ports = append(svc.Ports, model.Port{Name: "p", Number: number, Protocol: []model.Protocol{model.ProtocolAuto, model.ProtocolHTTP, model.ProtocolTCP}[d.IntN(3)]})
		}
	}
	r := &model.Registration{Service: svc}
	for _, p := range svc.Ports {
		for range d.IntN(4) {
			r.Instances = append(r.Instances, model.Instance{
				Address: fmt.Sprintf("10.3.0.%d", 1+d.IntN(4)), Port: uint32(8000 + d.IntN(2)), ServicePort: p.Number, Labels: d.labels(), Namespace: svc.Namespace,
				Workload: d.of("w1", "w2", "w9"), ServiceAccount: d.of("", "sa"), Unhealthy: d.IntN(3) == 0, Weight: uint32(d.IntN(3)),
				TLS: model.TLSMode(d.IntN(2)), Locality: model.Locality{Region: d.of("eu", "us")},
			})
		}
	}
	return r
}

// change changes one registration at random.
func (r registered) change(d dice) snapshot.Event {
	source, reg := d.of("consul", "nomad"), d.registration()
	at := [2]string{source, reg.Key()}
	if d.IntN(3) == 0 {
		delete(r, at)
		return snapshot.Unregister(source, reg.Key())
	}
	r[at] = reg
	return snapshot.Register(source, reg)
}

func (r registered) events() []snapshot.Event {
	var out []snapshot.Event
	for at, reg := range r {
		out = append(out, snapshot.Register(at[0], reg))
	}
	return out
}
