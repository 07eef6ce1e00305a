package snapshot

import (
	"fmt"
	"maps"
	"slices"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Event is one change of an input object.
type Event struct {
	// Source tells apart stores that may hold objects of the same name ("config", "local").
	// Where two define the same thing the older object counts, then the source that sorts
	// first.
	Source string
	// Delete removes the object that Key names; Object is not read.
	Delete bool
	Key    config.Key
	// Object is the new form; it must not be modified any more.
	Object *config.Object

	// Service, when it is not "", makes this the event of a registry's service with that key; Key and Object are not read.
	Service string
	// Registration is the new form; it must not be modified any more.
	Registration *model.Registration

	// Workload, when it is not "", makes this the event of a registry's workload with that key; Key and Object are not read.
	Workload string
	// Placed is the new form; it must not be modified any more.
	Placed *model.Workload
}

// Set makes the event of a new or changed object.
func Set(source string, o *config.Object) Event {
	return Event{Source: source, Key: o.Key(), Object: o}
}

// Delete makes the event of a removed object.
func Delete(source string, key config.Key) Event {
	return Event{Source: source, Key: key, Delete: true}
}

// Register makes the event of a registry's new or changed service.
func Register(source string, r *model.Registration) Event {
	return Event{Source: source, Service: r.Key(), Registration: r}
}

// Unregister makes the event of a registry's service that is gone, by the key of the service.
func Unregister(source, key string) Event {
	return Event{Source: source, Service: key, Delete: true}
}

// Place makes the event of a registry's new or changed workload.
func Place(source string, w *model.Workload) Event {
	return Event{Source: source, Workload: w.Key(), Placed: w}
}

// Displace makes the event of a registry's workload that is gone, by the key of the workload.
func Displace(source, key string) Event {
	return Event{Source: source, Workload: key, Delete: true}
}

// Problem is something in an object that has no effect, by name.
type Problem struct {
	Origin model.Origin
	Text   string
}

func (p Problem) String() string {
	s := p.Origin.String()
	if p.Origin.Field != "" {
		s += ": " + p.Origin.Field
	}
	return s + ": " + p.Text
}

// GatewayAPI is the source of objects that were made of the Gateway API's. They say some things that users cannot: prefixes of paths are of
// whole elements, and certificates may be of other namespaces.
const GatewayAPI = "gateway-api"

// Ingress is the source of objects that were made of Ingresses. Prefixes of paths are of whole elements there too. Ingresses of namespaces that the mesh does not
// consider are left out before; what was made of the others counts wherever it stands.
const Ingress = "ingress"

func made(source string) bool { return source == GatewayAPI || source == Ingress }

// object is a config.Object with what conversion needs of it.
type object struct {
	*config.Object
	made bool // its source is GatewayAPI or Ingress
}

func (o object) origin() model.Origin {
	return model.Origin{APIVersion: o.APIVersion, Kind: o.Kind.Name, Namespace: o.Namespace, Name: o.Name, File: o.Source.File, Line: o.Source.Line}
}

func (o object) at(field string) model.Origin { return o.origin().At(field, o.Position(field)) }

// problems collects while one object is converted.
type problems struct {
	at   func(field string) model.Origin
	list []Problem
}

func (p *problems) add(field, format string, args ...any) {
	p.list = append(p.list, Problem{Origin: p.at(field), Text: fmt.Sprintf(format, args...)})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
