package snapshot

import (
	"maps"
	"slices"

	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// labelsOf are the labels of a namespace: those of its object, if there is one, and its name.
func (b *Builder) labelsOf(namespace string) map[string]string {
	out := maps.Clone(b.namespaces[namespace])
	if out == nil {
		out = map[string]string{}
	}
	out[model.NamespaceNameLabel] = namespace
	return out
}

// considers reports whether discoverySelectors choose an object's namespace. The mesh's own settings always count.
func (b *Builder) considers(k config.Key) bool {
	return k.Namespace == "" || config.IsMeshConfig(k) || b.mesh.Considers(k.Namespace, b.namespaces[k.Namespace])
}

// setNamespace notes a namespace's labels, nil for one that has gone, and looks at its objects again where labels count.
func (b *Builder) setNamespace(name string, labels map[string]string, ch *model.Change) {
	if maps.Equal(b.namespaces[name], labels) {
		return
	}
	if labels == nil {
		delete(b.namespaces, name)
	} else {
		b.namespaces[name] = labels
	}
	if len(b.mesh.Discovery) == 0 && b.mesh.Entries == nil {
		return
	}
	ch.Objects = append(ch.Objects, model.ObjectKey{Kind: "Namespace", Name: name})
	b.applyAgain(func(k model.ObjectKey) bool { return k.Namespace == name }, ch)
}

// visibility is where a namespace's ServiceEntries are seen, instead of where they say; false: they say it.
func (b *Builder) visibility(namespace string) (model.ExportTo, bool) {
	if b.mesh.Entries == nil {
		return nil, false
	}
	switch b.mesh.Entries.Of(b.labelsOf(namespace)) {
	case model.VisibleNamespace:
		return model.ExportTo{namespace}, true
	case model.VisibleNowhere:
		return model.ExportTo{}, true
	}
	return nil, true
}

// labelOperators are ours for Kubernetes'; validation knows the same.
var labelOperators = map[string]model.LabelOperator{
	"In": model.LabelIn, "NotIn": model.LabelNotIn, "Exists": model.LabelExists, "DoesNotExist": model.LabelDoesNotExist,
}

func labelSelector(in *meshconfig.LabelSelector) model.LabelSelector {
	var out model.LabelSelector
	for _, key := range slices.Sorted(maps.Keys(in.GetMatchLabels())) {
		out = append(out, model.LabelRequirement{Key: key, Values: []string{in.MatchLabels[key]}})
	}
	for _, e := range in.GetMatchExpressions() {
		out = append(out, model.LabelRequirement{Key: e.GetKey(), Operator: labelOperators[e.GetOperator()], Values: slices.Clone(e.GetValues())})
	}
	return out
}

var visibilities = map[meshconfig.ServiceEntryVisibility_Visibility]model.Visibility{
	meshconfig.ServiceEntryVisibility_NONE: model.VisibleNowhere, meshconfig.ServiceEntryVisibility_NAMESPACE: model.VisibleNamespace,
}

// entryVisibility converts serviceEntryVisibility; nil where it is not for sidecars, since there are no other proxies here.
func entryVisibility(in *meshconfig.ServiceEntryVisibility, p *problems) *model.EntryVisibility {
	if in == nil {
		return nil
	}
	if !in.GetApplyToSidecars() {
		p.add("serviceEntryVisibility", "has no effect without applyToSidecars: there are no proxies but sidecars and gateways here, and they follow exportTo")
		return nil
	}
	out := &model.EntryVisibility{Default: visibilities[in.GetDefaultVisibility()]}
	for _, pol := range in.GetPolicies() {
		v := model.VisibilityPolicy{Visibility: visibilities[pol.GetVisibility()]}
		for _, r := range pol.GetMatchingRules() {
			v.Namespaces = append(v.Namespaces, labelSelector(r.GetNamespaceSelector()))
		}
		out.Policies = append(out.Policies, v)
	}
	return out
}
