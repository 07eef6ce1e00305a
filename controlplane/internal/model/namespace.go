package model

import (
	"maps"
	"slices"
)

// NamespaceNameLabel is the label that every namespace has, whether it has an object or not.
const NamespaceNameLabel = "kubernetes.io/metadata.name"

// Considers reports whether discoverySelectors choose a namespace whose object has some labels; nil for one without an object.
func (m *Mesh) Considers(namespace string, labels map[string]string) bool {
	if len(m.Discovery) == 0 {
		return true
	}
	named := maps.Clone(labels)
	if named == nil {
		named = map[string]string{}
	}
	named[NamespaceNameLabel] = namespace
	return slices.ContainsFunc(m.Discovery, func(s LabelSelector) bool { return s.Matches(named) })
}

// LabelSelector chooses namespaces by their labels. All its requirements must be met; without any it chooses all.
type LabelSelector []LabelRequirement

// LabelOperator compares a label with values.
type LabelOperator uint8

// Operators, Kubernetes'.
const (
	LabelIn LabelOperator = iota
	LabelNotIn
	LabelExists
	LabelDoesNotExist
)

// LabelRequirement is one condition of a LabelSelector.
type LabelRequirement struct {
	Key      string
	Operator LabelOperator
	Values   []string
}

// Matches reports whether labels meet all requirements.
func (s LabelSelector) Matches(labels map[string]string) bool {
	return !slices.ContainsFunc(s, func(r LabelRequirement) bool {
		v, has := labels[r.Key]
		switch r.Operator {
		case LabelNotIn:
			return has && slices.Contains(r.Values, v)
		case LabelExists:
			return !has
		case LabelDoesNotExist:
			return has
		}
		return !has || !slices.Contains(r.Values, v)
	})
}

// Visibility is where a ServiceEntry is seen.
type Visibility uint8

// Visibilities.
const (
	VisiblePublic    Visibility = iota // everywhere
	VisibleNamespace                   // in its own namespace
	VisibleNowhere
)

// EntryVisibility says where ServiceEntries are seen, whatever their exportTo says.
type EntryVisibility struct {
	Default  Visibility
	Policies []VisibilityPolicy // the first that fits counts
}

// VisibilityPolicy is for ServiceEntries of some namespaces: those that all selectors choose.
type VisibilityPolicy struct {
	Visibility Visibility
	Namespaces []LabelSelector
}

// Of is the visibility of ServiceEntries in a namespace with some labels.
func (v *EntryVisibility) Of(labels map[string]string) Visibility {
	for _, p := range v.Policies {
		if !slices.ContainsFunc(p.Namespaces, func(s LabelSelector) bool { return !s.Matches(labels) }) {
			return p.Visibility
		}
	}
	return v.Default
}
