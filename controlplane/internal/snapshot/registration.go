package snapshot

import (
	"math"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// registrations keeps what registries have registered, and which services' endpoints are to be derived again.
type registrations struct {
	bySource map[string]map[string]*model.Registration // key of the service to source to registration
	touched  map[string]bool
}

func newRegistrations() registrations {
	return registrations{bySource: map[string]map[string]*model.Registration{}, touched: map[string]bool{}}
}

// register puts a registry's service into the collection. Its endpoints are apart: a change of them alone leaves the service as it is.
func (b *Builder) register(e Event, ch *model.Change) {
	owner := e.Source + "|registration"
	old := b.registered.bySource[e.Service][e.Source]
	if e.Delete {
		if old == nil {
			return
		}
		ch.Objects = append(ch.Objects, registrationKey(old))
		b.registered.set(e.Service, e.Source, nil)
		b.services.set(e.Service, owner, nil)
		return
	}
	ch.Objects = append(ch.Objects, registrationKey(e.Registration))
	b.registered.set(e.Service, e.Source, e.Registration)
	if e.Registration.Placed {
		b.services.set(e.Service, owner, nil)
		return
	}
	svc := *e.Registration.Service
	svc.ExportTo = exportTo(nil, b.mesh.ServiceExportTo, svc.Namespace)
	// The oldest definition of a host counts. What a registry has found yields to what somebody has written.
	svc.Created = time.Unix(math.MaxInt32, 0)
	b.services.set(e.Service, owner, &svc)
}

// place puts a registry's workload into the collection. One that an object defines as well is what the object says.
func (b *Builder) place(e Event, ch *model.Change) {
	ns, name, _ := strings.Cut(e.Workload, "/")
	ch.Objects = append(ch.Objects, model.ObjectKey{Kind: "Workload", Namespace: ns, Name: name})
	b.workloads.set(e.Workload, "registry|"+e.Source, e.Placed)
}

func registrationKey(r *model.Registration) model.ObjectKey {
	return model.ObjectKey{Kind: r.Service.Origin.Kind, Namespace: r.Service.Namespace, Name: r.Service.Name}
}

func (r *registrations) set(key, source string, v *model.Registration) {
	r.touched[key] = true
	if v != nil {
		at(r.bySource, key)[source] = v
		return
	}
	delete(r.bySource[key], source)
	if len(r.bySource[key]) == 0 {
		delete(r.bySource, key)
	}
}

// settle adds the services whose registrations changed since the last call.
func (r *registrations) settle(again map[string]bool) {
	for key := range r.touched {
		again[key] = true
	}
	clear(r.touched)
}

// instances calls f with the registered endpoints of a service that comes from a registry, or that leaves them to one, in the order of the sources.
func (r *registrations) instances(svc *model.Service, f func(model.Instance)) {
	sources := r.bySource[svc.Key()]
	for _, source := range sortedKeys(sources) {
		v := sources[source]
		if v.Placed {
			for _, of := range svc.Definitions() {
				placed(of, v, f)
			}
			continue
		}
		if svc.Registry == "" {
			continue // one that an object defines says itself where its endpoints are
		}
		for _, in := range v.Instances {
			f(in)
		}
	}
}

// placed calls f with the endpoints of a core/v1 Service that leaves it to a registry to say where it is, for each of its ports that they have.
func placed(svc *model.Service, v *model.Registration, f func(model.Instance)) {
	if !svc.Mesh || len(svc.Selector) > 0 || svc.Alias != "" {
		return
	}
	for _, in := range v.Instances {
		for _, p := range svc.Ports {
			e := in
			if e.Port = in.Ports[p.Name]; e.Port == 0 {
				continue
			}
			e.Ports, e.ServicePort, e.Unhealthy = nil, p.Number, in.Unhealthy && !svc.PublishNotReady
			f(e)
		}
	}
}

// each calls f with every registration, in a stable order.
func (r *registrations) each(f func(source string, v *model.Registration)) {
	for _, key := range sortedKeys(r.bySource) {
		for _, source := range sortedKeys(r.bySource[key]) {
			f(source, r.bySource[key][source])
		}
	}
}
