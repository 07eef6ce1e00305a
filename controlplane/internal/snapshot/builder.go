package snapshot

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1beta1 "istio.io/api/networking/v1beta1"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Builder holds the current snapshot and turns changes into the next. It is used by one
// goroutine at a time; the snapshots that it yields may be read by any.
type Builder struct {
	mesh  *model.Mesh
	trust *model.TrustBundle // nil for none
	snap  *model.Snapshot
	rev   uint64

	objects map[objectID]objectState
	// found caches what Problems returns; nil after a change of any object's problems.
	found []Problem

	services    *collection[model.Service]
	workloads   *collection[model.Workload]
	routes      *collection[model.VirtualService]
	rules       *collection[model.DestinationRule]
	gateways    *collection[model.Gateway]
	credentials *collection[model.Credential]
	peerAuths   *collection[model.PeerAuthentication]
	tokens      *collection[model.RequestAuthentication]
	authorized  *collection[model.AuthorizationPolicy]
	telemetries *collection[model.Telemetry]
	sidecars    *collection[model.SidecarConfig]
	patches     *collection[model.EnvoyFilter]
	groups      *collection[model.WorkloadGroup]
	configs     *collection[model.ProxyConfig]

	// issuers is what is known of those that RequestAuthentications ask for; never changed in place.
	issuers    map[string]Issuer
	registered registrations
	labels     labelIndex
	vips       vips
	delegation delegation
	// opaqueRoutes and opaqueRules count the virtual services with rules for opaque bytes and the
	// destination rules with an opaquePolicy. While there are any, every rule may hide one of them
	// (the most specific host wins), so that listeners depend on all.
	opaqueRoutes, opaqueRules int
	// passthroughs counts the gateways with a server of mode AUTO_PASSTHROUGH.
	passthroughs int
	// networks is what the mesh's ConfigMap says, nil for nothing; networkGateways are the keys of services that are gateways of a network.
	networks        *model.NetworkConfig
	networkGateways map[string]bool
	// gatewayNames are the names among gateways of networks, and addressesOf those that DNS has said.
	gatewayNames map[string]bool
	addressesOf  map[string][]string
	// namespaces are the labels of those that have an object.
	namespaces map[string]map[string]string
	ruleLabels map[string]int // label name to the number of rules that ask for it
	// rulesOf are the destination rules of each namespace and host (ruleKey), by their keys.
	rulesOf map[string]map[string]*model.DestinationRule
}

type objectID struct {
	source string
	key    model.ObjectKey
}

// objectState is what one input object put into the collections.
type objectState struct {
	services []string // keys in the collection of services
	problems []Problem
	// object is kept to be converted again when the mesh configuration changes.
	object *config.Object
}

// New returns a builder of an empty mesh with Istio's default configuration.
func New() *Builder {
	b := &Builder{
		mesh: model.DefaultMesh(), objects: map[objectID]objectState{}, ruleLabels: map[string]int{}, rulesOf: map[string]map[string]*model.DestinationRule{}, networkGateways: map[string]bool{}, namespaces: map[string]map[string]string{}, labels: newLabelIndex(), registered: newRegistrations(), vips: newVIPs(),
		delegation:  newDelegation(),
		services:    newCollection(func(v *model.Service) (*uint64, time.Time) { return &v.Rev, v.Created }),
		workloads:   newCollection(func(v *model.Workload) (*uint64, time.Time) { return &v.Rev, time.Time{} }),
		routes:      newCollection(func(v *model.VirtualService) (*uint64, time.Time) { return &v.Rev, v.Created }),
		rules:       newCollection(func(v *model.DestinationRule) (*uint64, time.Time) { return &v.Rev, v.Created }),
		gateways:    newCollection(func(v *model.Gateway) (*uint64, time.Time) { return &v.Rev, v.Created }),
		credentials: newCollection(func(v *model.Credential) (*uint64, time.Time) { return &v.Rev, v.Created }),
		peerAuths:   newCollection(func(v *model.PeerAuthentication) (*uint64, time.Time) { return &v.Rev, v.Created }),
		tokens:      newCollection(func(v *model.RequestAuthentication) (*uint64, time.Time) { return &v.Rev, v.Created }),
		authorized:  newCollection(func(v *model.AuthorizationPolicy) (*uint64, time.Time) { return &v.Rev, v.Created }),
		telemetries: newCollection(func(v *model.Telemetry) (*uint64, time.Time) { return &v.Rev, v.Created }),
		sidecars:    newCollection(func(v *model.SidecarConfig) (*uint64, time.Time) { return &v.Rev, v.Created }),
		patches:     newCollection(func(v *model.EnvoyFilter) (*uint64, time.Time) { return &v.Rev, v.Created }),
		groups:      newCollection(func(v *model.WorkloadGroup) (*uint64, time.Time) { return &v.Rev, v.Created }),
		configs:     newCollection(func(v *model.ProxyConfig) (*uint64, time.Time) { return &v.Rev, v.Created }),
	}
	b.services.join = joinServices
	b.services.finish = func(s *model.Service) {
		if s.AutoAllocate {
			s.Auto = b.vips.addresses(s.Namespace + "/" + s.Host)
		}
	}
	b.mesh.Rev = b.next()
	b.snap = &model.Snapshot{Mesh: b.mesh}
	b.snap.RememberScopes()
	return b
}

func (b *Builder) next() uint64 { b.rev++; return b.rev }

// TrimGateways has gateways get no clusters but those of services that their rules lead to. It is for the beginning, before the first
// Update.
func (b *Builder) TrimGateways() { b.snap.TrimGateways = true }

// RefreshKeys says how long proxies use the keys of issuers before they fetch them again; 0: the default. It is for the beginning, as TrimGateways is.
func (b *Builder) RefreshKeys(after time.Duration) { b.snap.KeysRefresh = after }

// Snapshot returns the current snapshot.
func (b *Builder) Snapshot() *model.Snapshot { return b.snap }

// Problems returns what has no effect in the current objects, in a stable order. The caller
// must not change the slice.
func (b *Builder) Problems() []Problem {
	if b.found == nil {
		b.found = []Problem{}
		for _, st := range b.objects {
			b.found = append(b.found, st.problems...)
		}
		slices.SortFunc(b.found, func(a, c Problem) int { return cmp.Compare(a.String(), c.String()) })
	}
	return b.found
}

// Update applies a batch of changes and returns the next snapshot with what it touched. A
// batch without effect returns the current snapshot and an empty Change. Its cost follows the
// batch and what depends on it.
func (b *Builder) Update(events ...Event) (*model.Snapshot, *model.Change) {
	ch := &model.Change{From: b.snap.Version}
	for _, e := range events {
		if e.Service != "" {
			b.register(e, ch)
			continue
		}
		if e.Workload != "" {
			b.place(e, ch)
			continue
		}
		b.apply(e, ch)
	}
	return b.flush(ch)
}

// SetMesh replaces the mesh configuration. Everything is derived again: it holds defaults that
// any object may depend on.
func (b *Builder) SetMesh(m *model.Mesh) (*model.Snapshot, *model.Change) {
	ch := &model.Change{From: b.snap.Version}
	n := *m
	n.Rev = b.mesh.Rev
	if reflect.DeepEqual(&n, b.mesh) {
		ch.To = ch.From
		return b.snap, ch
	}
	n.Rev = b.next()
	b.mesh = &n
	ch.All = true
	b.applyAgain(func(model.ObjectKey) bool { return true }, ch)
	b.registered.each(func(source string, r *model.Registration) { b.register(Register(source, r), ch) })
	ch.Objects = []model.ObjectKey{{Kind: "MeshConfig", Name: "mesh"}}
	for _, key := range b.snap.Services.Keys() {
		b.services.dirty[key] = true
	}
	return b.flush(ch)
}

// SetTrust replaces the roots that agents are told, each one PEM.
func (b *Builder) SetTrust(roots []string) (*model.Snapshot, *model.Change) {
	ch := &model.Change{From: b.snap.Version}
	if b.trust != nil && slices.Equal(b.trust.Roots, roots) {
		ch.To = ch.From
		return b.snap, ch
	}
	t := model.TrustBundle{Rev: b.next()}
	if b.trust != nil {
		t.Bundles = b.trust.Bundles
	}
	t.Roots = roots
	b.trust = &t
	ch.Trust = true
	return b.flush(ch)
}

// BundleURLs are the SPIFFE bundle endpoints that the mesh's settings name.
func (b *Builder) BundleURLs() []string { return b.mesh.BundleURLs() }

// SetBundles replaces what is known of SPIFFE bundle endpoints (BundleURLs), by URL, each root one PEM.
func (b *Builder) SetBundles(bundles map[string][]string) (*model.Snapshot, *model.Change) {
	ch := &model.Change{From: b.snap.Version}
	t := model.TrustBundle{}
	if b.trust != nil {
		t = *b.trust
	}
	if maps.EqualFunc(t.Bundles, bundles, slices.Equal) {
		ch.To = ch.From
		return b.snap, ch
	}
	t.Bundles, t.Rev = bundles, b.next()
	b.trust = &t
	ch.Trust = true
	return b.flush(ch)
}

// applyAgain puts objects into the collections anew, since what they were converted by has changed.
func (b *Builder) applyAgain(which func(model.ObjectKey) bool, ch *model.Change) {
	var ids []objectID
	for id := range b.objects {
		if which(id.key) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, c objectID) int {
		return cmp.Or(cmp.Compare(a.source, c.source), cmp.Compare(a.key.Kind, c.key.Kind), cmp.Compare(a.key.Namespace, c.key.Namespace), cmp.Compare(a.key.Name, c.key.Name))
	})
	for _, id := range ids {
		if st := b.objects[id]; st.object != nil {
			b.apply(Event{Source: id.source, Key: st.object.Key(), Object: st.object}, ch)
		}
	}
}

// ownerOf is how collections call an object.
func ownerOf(id objectID) string {
	return id.source + "|" + id.key.Kind + "|" + id.key.Namespace + "/" + id.key.Name
}

// apply takes in one object. One of a namespace that is not considered is kept for when it is.
func (b *Builder) apply(e Event, ch *model.Change) {
	if e.Key.Kind == schema.Namespace {
		var labels map[string]string
		if !e.Delete {
			labels = maps.Clone(e.Object.Labels)
		}
		b.setNamespace(e.Key.Name, labels, ch)
		return
	}
	if e.Delete || e.Source == Ingress || b.considers(e.Key) {
		b.convert(e, ch)
		return
	}
	b.convert(Event{Source: e.Source, Key: e.Key, Delete: true}, ch)
	id := objectID{e.Source, model.ObjectKey{Kind: e.Key.Kind.Name, Namespace: e.Key.Namespace, Name: e.Key.Name}}
	b.objects[id] = objectState{object: e.Object}
}

// convert puts one object's values into the collections.
func (b *Builder) convert(e Event, ch *model.Change) {
	key := model.ObjectKey{Kind: e.Key.Kind.Name, Namespace: e.Key.Namespace, Name: e.Key.Name}
	id := objectID{e.Source, key}
	old, existed := b.objects[id]
	if e.Delete && !existed {
		return
	}
	ch.Objects = append(ch.Objects, key)
	path := key.Namespace + "/" + key.Name
	owner := ownerOf(id)

	var st objectState
	var o object
	var p *problems
	if !e.Delete {
		o = object{e.Object, made(e.Source)}
		p = &problems{at: o.at}
		st.object = e.Object
	}
	switch key.Kind {
	case "Service", "ServiceEntry":
		var svcs []*model.Service
		if !e.Delete {
			switch spec := o.Spec.(type) {
			case *corev1.Service:
				svcs = []*model.Service{b.service(o, spec, p)}
			case *networking.ServiceEntry:
				svcs = b.serviceEntry(o, spec, p)
			}
		}
		for _, k := range old.services {
			b.services.set(k, owner, nil)
		}
		for _, s := range svcs {
			b.services.set(s.Key(), owner, s)
			st.services = append(st.services, s.Key())
		}
	case "WorkloadEntry":
		var v *model.Workload
		if spec, ok := specOf[networking.WorkloadEntry](e); ok {
			v = b.workload(o, spec, workloadLabels(o, spec))
			v.Unhealthy = !healthy(o)
		}
		b.workloads.set(path, owner, v)
	case "VirtualService":
		b.delegation.note(id, st.object)
		var v *model.VirtualService
		if spec, ok := specOf[networking.VirtualService](e); ok {
			v = b.virtualService(o, spec, p)
		}
		b.routes.set(path, owner, v)
	case "DestinationRule":
		var v *model.DestinationRule
		if spec, ok := specOf[networking.DestinationRule](e); ok {
			v = b.destinationRule(o, spec, p)
		}
		b.rules.set(path, owner, v)
	case "Gateway":
		var v *model.Gateway
		if spec, ok := specOf[networking.Gateway](e); ok {
			v = b.gateway(o, spec, p)
		}
		b.gateways.set(path, owner, v)
	case "Secret":
		var v *model.Credential
		if spec, ok := specOf[corev1.Secret](e); ok {
			v = b.secret(o, spec, p)
		}
		b.credentials.set(path, owner, v)
	case "PeerAuthentication":
		var v *model.PeerAuthentication
		if spec, ok := specOf[security.PeerAuthentication](e); ok {
			v = peerAuthentication(o, spec)
		}
		b.peerAuths.set(path, owner, v)
	case "RequestAuthentication":
		var v *model.RequestAuthentication
		if spec, ok := specOf[security.RequestAuthentication](e); ok {
			v = b.requestAuthentication(o, spec, p)
		}
		b.tokens.set(path, owner, v)
	case "AuthorizationPolicy":
		var v *model.AuthorizationPolicy
		if spec, ok := specOf[security.AuthorizationPolicy](e); ok {
			v = b.authorizationPolicy(o, spec, p)
		}
		b.authorized.set(path, owner, v)
	case "Telemetry":
		var v *model.Telemetry
		if spec, ok := specOf[telemetry.Telemetry](e); ok {
			v = b.telemetry(o, spec, p)
		}
		b.telemetries.set(path, owner, v)
	case "Sidecar":
		var v *model.SidecarConfig
		if spec, ok := specOf[networking.Sidecar](e); ok {
			v = b.sidecar(o, spec, p)
		}
		b.sidecars.set(path, owner, v)
	case "EnvoyFilter":
		var v *model.EnvoyFilter
		if spec, ok := specOf[networking.EnvoyFilter](e); ok {
			v = envoyFilter(o, spec, p)
		}
		b.patches.set(path, owner, v)
	case "WorkloadGroup":
		var v *model.WorkloadGroup
		if spec, ok := specOf[networking.WorkloadGroup](e); ok {
			v = b.workloadGroup(o, spec, p)
		}
		b.groups.set(path, owner, v)
	case "ProxyConfig":
		var v *model.ProxyConfig
		if spec, ok := specOf[networkingv1beta1.ProxyConfig](e); ok {
			v = proxyConfig(o, spec, p)
		}
		b.configs.set(path, owner, v)
	case "ConfigMap":
		if !config.IsMeshConfig(e.Key) {
			return
		}
		b.networks = nil
		if spec, ok := specOf[corev1.ConfigMap](e); ok {
			b.networks = meshNetworks(spec, p)
		}
	default:
		return // other kinds have no effect on the graph; config says so when they are applied
	}
	if e.Delete {
		if len(old.problems) > 0 {
			b.found = nil
		}
		delete(b.objects, id)
		return
	}
	st.problems = p.list
	if len(old.problems)+len(st.problems) > 0 {
		b.found = nil
	}
	b.objects[id] = st
}

func specOf[T any](e Event) (*T, bool) {
	if e.Delete {
		return nil, false
	}
	spec, ok := e.Object.Spec.(*T)
	return spec, ok
}

// collection is a table with, for each key, the values that its owners give. The oldest
// counts; of equally old ones that of the first owner.
type collection[V any] struct {
	owners map[string]map[string]*V
	dirty  map[string]bool
	// byNamespace are the keys of each namespace, for keys of the form host/namespace.
	byNamespace map[string]map[string]bool
	meta        func(*V) (rev *uint64, created time.Time)
	join        func(oldestFirst []*V) *V // makes one value of several; nil: the first counts
	finish      func(*V)                  // adds to a value what depends on others; may be nil
}

func newCollection[V any](meta func(*V) (*uint64, time.Time)) *collection[V] {
	return &collection[V]{owners: map[string]map[string]*V{}, dirty: map[string]bool{}, byNamespace: map[string]map[string]bool{}, meta: meta}
}

// set gives or, with nil, takes back an owner's value.
func (c *collection[V]) set(key, owner string, v *V) {
	c.dirty[key] = true
	if v == nil {
		delete(c.owners[key], owner)
		if len(c.owners[key]) == 0 {
			delete(c.owners, key)
			delete(c.byNamespace[namespaceOf(key)], key)
		}
		return
	}
	if c.owners[key] == nil {
		c.owners[key] = map[string]*V{}
		at(c.byNamespace, namespaceOf(key))[key] = true
	}
	c.owners[key][owner] = v
}

// winner returns the value that counts for a key: that of the oldest owner, or what join makes
// of all.
func (c *collection[V]) winner(key string) *V {
	owners := sortedKeys(c.owners[key])
	if len(owners) == 0 {
		return nil
	}
	all := make([]*V, 0, len(owners))
	for _, owner := range owners {
		all = append(all, c.owners[key][owner])
	}
	slices.SortStableFunc(all, func(a, b *V) int {
		_, ac := c.meta(a)
		_, bc := c.meta(b)
		return ac.Compare(bc)
	})
	if c.join != nil && len(all) > 1 {
		return c.join(all)
	}
	return all[0]
}

// diff is one key whose value differs from that in the table.
type diff[V any] struct {
	key      string
	old, new *V
}

// flush returns the table with the dirty keys settled, and what really differs. A value that
// equals the one in the table keeps the old value and its revision.
func (c *collection[V]) flush(t model.Table[*V], next func() uint64) (model.Table[*V], []diff[V]) {
	var edits []model.Edit[*V]
	var diffs []diff[V]
	for _, key := range sortedKeys(c.dirty) {
		old, had := t.Get(key)
		v := c.winner(key)
		switch {
		case v == nil && !had:
			continue
		case v == nil:
			edits = append(edits, model.Edit[*V]{Key: key, Delete: true})
		default:
			// The owner's value stays as it is: it may become the table's again later.
			n := new(V)
			*n = *v
			if c.finish != nil {
				c.finish(n)
			}
			rev, _ := c.meta(n)
			if had {
				oldRev, _ := c.meta(old)
				*rev = *oldRev
				if reflect.DeepEqual(n, old) {
					continue
				}
			}
			*rev = next()
			edits = append(edits, model.Edit[*V]{Key: key, Value: n})
			v = n
		}
		diffs = append(diffs, diff[V]{key, old, v})
	}
	clear(c.dirty)
	return t.Apply(edits), diffs
}
