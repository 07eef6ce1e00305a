package snapshot

//lint:file-ignore SA1019 Istio still serves its deprecated fields, so they are read as well.

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// A VirtualService without hosts is a delegate: its HTTP rules take the place of a rule that
// refers to it, in a virtual service that has hosts, a root.
// https://istio.io/latest/docs/reference/config/networking/virtual-service/#Delegate

func isDelegate(v *networking.VirtualService) bool { return len(v.Hosts) == 0 }

// delegation knows which roots refer to which delegates, so that a change of a delegate
// converts its roots again.
type delegation struct {
	objects map[string]map[string]*config.Object // delegates by namespace/name and source
	roots   map[string]map[objectID]bool         // by the delegate's namespace/name
	refers  map[objectID][]string                // the reverse
	pending map[objectID]bool                    // roots to be converted again
}

func newDelegation() delegation {
	return delegation{
		objects: map[string]map[string]*config.Object{}, roots: map[string]map[objectID]bool{},
		refers: map[objectID][]string{}, pending: map[objectID]bool{},
	}
}

// note takes a new, changed or (with a nil object) removed virtual service in.
func (d *delegation) note(id objectID, o *config.Object) {
	key := id.key.Namespace + "/" + id.key.Name
	_, was := d.objects[key][id.source]
	delete(d.objects[key], id.source)
	if len(d.objects[key]) == 0 {
		delete(d.objects, key)
	}
	for _, ref := range d.refers[id] {
		if delete(d.roots[ref], id); len(d.roots[ref]) == 0 {
			delete(d.roots, ref)
		}
	}
	delete(d.refers, id)
	delete(d.pending, id)
	is := false
	if o != nil {
		v, _ := o.Spec.(*networking.VirtualService)
		is = v != nil && isDelegate(v)
		if is {
			at(d.objects, key)[id.source] = o
		} else if v != nil {
			for _, ref := range delegates(v, id.key.Namespace) {
				if d.roots[ref] == nil {
					d.roots[ref] = map[objectID]bool{}
				}
				d.roots[ref][id] = true
				d.refers[id] = append(d.refers[id], ref)
			}
		}
	}
	if was || is {
		maps.Copy(d.pending, d.roots[key])
	}
}

// find returns a delegate: of several sources' the oldest, as everywhere.
func (d *delegation) find(key string) *config.Object {
	var best *config.Object
	for _, source := range sortedKeys(d.objects[key]) {
		if o := d.objects[key][source]; best == nil || o.Created.Before(best.Created) {
			best = o
		}
	}
	return best
}

// delegates names those that a virtual service refers to, each once.
func delegates(v *networking.VirtualService, ns string) []string {
	var out []string
	for _, r := range v.Http {
		if r.GetDelegate() != nil {
			out = append(out, delegateKey(r.Delegate, ns))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func delegateKey(d *networking.Delegate, ns string) string {
	return cmp.Or(d.Namespace, ns) + "/" + d.Name
}

// convertRoots converts the roots of changed delegates again.
func (b *Builder) convertRoots() {
	ids := slices.SortedFunc(maps.Keys(b.delegation.pending), func(a, c objectID) int {
		return cmp.Or(cmp.Compare(a.source, c.source), cmp.Compare(a.key.Namespace, c.key.Namespace), cmp.Compare(a.key.Name, c.key.Name))
	})
	for _, id := range ids {
		st := b.objects[id]
		o := object{st.object, made(id.source)}
		p := &problems{at: o.at}
		b.routes.set(id.key.Namespace+"/"+id.key.Name, ownerOf(id), b.virtualService(o, o.Spec.(*networking.VirtualService), p))
		st.problems, b.found = p.list, nil
		b.objects[id] = st
	}
	clear(b.delegation.pending)
}

// delegated converts a rule that refers to a delegate: the delegate's rules, narrowed by the
// root's conditions and completed by its settings. Rules that do not lie within the root's
// conditions are left out, as in Istio, and reported.
func (b *Builder) delegated(o object, root *networking.HTTPRoute, field string, p *problems) []model.HTTPRoute {
	key := delegateKey(root.Delegate, o.Namespace)
	found := b.delegation.find(key)
	if found == nil {
		p.add(field+".delegate", "there is no VirtualService %s without hosts to delegate to; the rule is left out", key)
		return nil
	}
	d, spec := object{found, false}, found.Spec.(*networking.VirtualService)
	if !exportTo(spec.ExportTo, b.mesh.VirtualServiceExportTo, d.Namespace).Visible(o.Namespace) {
		p.add(field+".delegate", "VirtualService %s is not exported to namespace %s; the rule is left out", key, o.Namespace)
		return nil
	}
	resolvedRoot := b.resolved(root, o.Namespace)
	var out []model.HTTPRoute
	for i, r := range spec.Http {
		at := indexed("spec.http", i)
		if r == nil || r.Delegate != nil {
			continue // validation refuses a delegate of a delegate
		}
		merged := b.resolved(r, d.Namespace)
		matches, ok := mergeMatches(resolvedRoot.Match, merged.Match)
		if !ok {
			p.add(field+".delegate", "%s of VirtualService %s has a match that does not lie within those of this rule; it is left out", at, key)
			continue
		}
		merged.Match = nil
		for _, m := range matches {
			merged.Match = append(merged.Match, m.match)
		}
		completeRoute(merged, resolvedRoot)
		// What the delegate says has no effect is said of the delegate's field, at the root: the
		// root decides that it is used.
		dp := &problems{at: d.at}
		rule := b.httpRoute(d, merged, at, dp)
		p.list = append(p.list, dp.list...)
		for j, m := range matches {
			if m.delegate >= 0 {
				rule.Matches[j].Origin = d.at(indexed(at+".match", m.delegate))
			} else {
				rule.Matches[j].Origin = o.at(indexed(field+".match", m.root))
			}
		}
		out = append(out, rule)
	}
	return out
}

// resolved returns a copy of a rule whose names mean the same in every namespace.
func (b *Builder) resolved(r *networking.HTTPRoute, ns string) *networking.HTTPRoute {
	out := proto.Clone(r).(*networking.HTTPRoute)
	resolve := func(d *networking.Destination) {
		if d != nil {
			d.Host = b.host(d.Host, ns)
		}
	}
	for _, d := range out.Route {
		resolve(d.GetDestination())
	}
	resolve(out.Mirror)
	for _, m := range out.Mirrors {
		resolve(m.GetDestination())
	}
	for _, m := range out.Match {
		if m != nil {
			m.Gateways = gatewayNames(m.Gateways, ns)
		}
	}
	return out
}

// completeRoute gives a delegate's rule what the root says and it does not.
func completeRoute(r, root *networking.HTTPRoute) {
	r.Name = joined(root.Name, r.Name)
	if r.Rewrite == nil {
		r.Rewrite = root.Rewrite
	}
	if r.DirectResponse == nil && len(r.Route) == 0 && r.Redirect == nil {
		r.DirectResponse = root.DirectResponse
	}
	if r.Timeout == nil {
		r.Timeout = root.Timeout
	}
	if r.Retries == nil {
		r.Retries = root.Retries
	}
	if r.Fault == nil {
		r.Fault = root.Fault
	}
	if r.Mirror == nil {
		r.Mirror = root.Mirror
	}
	if r.MirrorPercent == nil {
		r.MirrorPercent = root.MirrorPercent
	}
	if r.MirrorPercentage == nil {
		r.MirrorPercentage = root.MirrorPercentage
	}
	if r.Mirrors == nil {
		r.Mirrors = root.Mirrors
	}
	if r.CorsPolicy == nil {
		r.CorsPolicy = root.CorsPolicy
	}
	if r.Headers == nil {
		r.Headers = root.Headers
	}
}

// joined is how Istio names what comes of a root and a delegate.
func joined(root, delegate string) string {
	if root == "" || delegate == "" {
		return root + delegate
	}
	return root + "-" + delegate
}

// mergedMatch is a match with where it came from; -1: not from there.
type mergedMatch struct {
	match          *networking.HTTPMatchRequest
	root, delegate int
}

// mergeMatches joins conditions: each of the delegate's with each of the root's that it lies
// within. False: one of the delegate's lies within none.
func mergeMatches(root, delegate []*networking.HTTPMatchRequest) ([]mergedMatch, bool) {
	var out []mergedMatch
	switch {
	case len(root) == 0:
		for i, m := range delegate {
			out = append(out, mergedMatch{m, -1, i})
		}
		return out, true
	case len(delegate) == 0:
		for i, m := range root {
			out = append(out, mergedMatch{m, i, -1})
		}
		return out, true
	}
	for j, d := range delegate {
		within := false
		for i, r := range root {
			if outside(r, d) {
				continue
			}
			within = true
			out = append(out, mergedMatch{mergeMatch(r, d), i, j})
		}
		if !within {
			return nil, false
		}
	}
	return out, true
}

func mergeMatch(root, delegate *networking.HTTPMatchRequest) *networking.HTTPMatchRequest {
	out := proto.Clone(delegate).(*networking.HTTPMatchRequest)
	out.Name = joined(root.GetName(), out.Name)
	for _, s := range []struct {
		mine   **networking.StringMatch
		theirs *networking.StringMatch
	}{{&out.Uri, root.GetUri()}, {&out.Scheme, root.GetScheme()}, {&out.Method, root.GetMethod()}, {&out.Authority, root.GetAuthority()}} {
		if *s.mine == nil {
			*s.mine = s.theirs
		}
	}
	out.Headers = union(root.GetHeaders(), out.Headers)
	out.WithoutHeaders = union(root.GetWithoutHeaders(), out.WithoutHeaders)
	out.QueryParams = union(root.GetQueryParams(), out.QueryParams)
	out.SourceLabels = union(root.GetSourceLabels(), out.SourceLabels)
	out.Port = cmp.Or(out.Port, root.GetPort())
	out.SourceNamespace = cmp.Or(out.SourceNamespace, root.GetSourceNamespace())
	out.StatPrefix = cmp.Or(out.StatPrefix, root.GetStatPrefix())
	if len(out.Gateways) == 0 {
		out.Gateways = root.GetGateways()
	}
	return out
}

// union is both maps; mine counts where both have a key.
func union[V any](theirs, mine map[string]V) map[string]V {
	if len(theirs) == 0 {
		return mine
	}
	out := maps.Clone(theirs)
	maps.Copy(out, mine)
	return out
}

// outside reports whether the delegate's condition is not known to lie within the root's.
func outside(root, delegate *networking.HTTPMatchRequest) bool {
	for _, s := range [][2]*networking.StringMatch{
		{root.GetUri(), delegate.GetUri()}, {root.GetScheme(), delegate.GetScheme()},
		{root.GetMethod(), delegate.GetMethod()}, {root.GetAuthority(), delegate.GetAuthority()},
	} {
		if wider(s[0], s[1]) {
			return true
		}
	}
	for _, m := range [][2]map[string]*networking.StringMatch{
		{root.GetHeaders(), delegate.GetHeaders()}, {root.GetWithoutHeaders(), delegate.GetWithoutHeaders()},
		{root.GetQueryParams(), delegate.GetQueryParams()},
	} {
		for name, match := range m[1] {
			if wider(m[0][name], match) {
				return true
			}
		}
	}
	for name, value := range delegate.GetSourceLabels() {
		if v, ok := root.GetSourceLabels()[name]; ok && v != value {
			return true
		}
	}
	for _, g := range delegate.GetGateways() {
		if len(root.GetGateways()) > 0 && !slices.Contains(root.GetGateways(), g) {
			return true
		}
	}
	return root.GetIgnoreUriCase() != delegate.GetIgnoreUriCase() ||
		root.GetPort() > 0 && delegate.GetPort() > 0 && root.GetPort() != delegate.GetPort() ||
		root.GetSourceNamespace() != "" && delegate.GetSourceNamespace() != "" && root.GetSourceNamespace() != delegate.GetSourceNamespace()
}

// wider reports whether the delegate's match takes, or may take, more than the root's.
func wider(root, delegate *networking.StringMatch) bool {
	if root.GetMatchType() == nil || delegate.GetMatchType() == nil {
		return false // one of them says nothing
	}
	value, exact := delegate.GetExact(), true
	if p, ok := delegate.MatchType.(*networking.StringMatch_Prefix); ok {
		value, exact = p.Prefix, false
	}
	if _, ok := delegate.MatchType.(*networking.StringMatch_Regex); ok {
		return true
	}
	switch r := root.MatchType.(type) {
	case *networking.StringMatch_Exact:
		return !exact || value != r.Exact
	case *networking.StringMatch_Prefix:
		return !strings.HasPrefix(value, r.Prefix)
	}
	return true // a regular expression
}
