// Package schema lists every kind of object that users may write: Istio's custom resources in
// all their served versions, those of the Kubernetes Gateway API, Ingress, and the core Kubernetes kinds that a mesh needs to know.
//
// For each kind it says how it is named (group, versions, plural, short names), whether it lives
// in a namespace, which Go type holds it, and which columns `lateen get` prints. It neither
// parses nor judges objects: config parses them, config/validate judges them.
//
// Anyone but the data plane may import it. The list is fixed at build time; nothing registers
// itself.
package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Kind describes one kind of object. Kinds are compared by pointer: there is exactly one *Kind
// for each, held in a variable of this package. They are never modified.
type Kind struct {
	// Group is the API group, empty for Kubernetes' core group.
	Group string
	// Versions are the served versions; the first is the one that is preferred when an
	// object is written without having been read from YAML.
	Versions []string
	// Name is the kind as written in YAML, for example VirtualService.
	Name string
	// Plural and Singular are the lower-case resource names, for example virtualservices.
	Plural, Singular string
	// ShortNames are what people type, for example vs.
	ShortNames []string
	// Namespaced is false for kinds that belong to the whole mesh.
	Namespaced bool
	// HasSpec is true for kinds whose content is below `spec` alone. False for the core
	// kinds: their Go type is the whole object, and field paths begin at its root.
	HasSpec bool
	// Columns are printed by `lateen get` after NAME. Empty means AGE alone.
	Columns []Column
	// New returns a pointer to an empty value of the Go type: the proto of the spec for
	// Istio's kinds, the whole object (such as *corev1.Service) for core kinds.
	New func() any
}

// Column is one printed column.
type Column struct {
	// Name is the heading, for example GATEWAYS.
	Name string
	// Wide columns are shown with `-o wide` alone.
	Wide bool
	// Value renders the column from the object's Go value.
	Value func(spec any) string
	// Status renders the column from the object's status, in JSON; empty where nobody has observed anything. Without Value and Status the column is the
	// object's age.
	Status func(status json.RawMessage) string
}

// GroupVersion returns how an apiVersion of the kind is written, for example
// networking.istio.io/v1, or v1 for the core group.
func (k *Kind) GroupVersion(version string) string {
	if k.Group == "" {
		return version
	}
	return k.Group + "/" + version
}

// APIVersion returns the preferred apiVersion.
func (k *Kind) APIVersion() string { return k.GroupVersion(k.Versions[0]) }

// Resource returns the name kubectl prints before the slash: virtualservice.networking.istio.io,
// or service for a core kind.
func (k *Kind) Resource() string {
	if k.Group == "" {
		return k.Singular
	}
	return k.Singular + "." + k.Group
}

// PluralResource returns the name in "not found" messages: virtualservices.networking.istio.io.
func (k *Kind) PluralResource() string {
	if k.Group == "" {
		return k.Plural
	}
	return k.Plural + "." + k.Group
}

// Folder is the name of the kind's folder in a state directory. Kinds of the Gateway API have the group in it: Istio has a Gateway too.
func (k *Kind) Folder() string {
	if k.GatewayAPI() {
		return k.Resource()
	}
	return strings.ToLower(k.Name)
}

// Istio reports whether the kind is one of Istio's.
func (k *Kind) Istio() bool { return strings.HasSuffix(k.Group, ".istio.io") }

// String returns the kind's name.
func (k *Kind) String() string { return k.Name }

// Serves reports whether version is one of the served versions.
func (k *Kind) Serves(version string) bool {
	for _, v := range k.Versions {
		if v == version {
			return true
		}
	}
	return false
}

// UnknownError says why a kind cannot be used. Its text names the kind and what to do.
type UnknownError struct {
	APIVersion, Kind string
	Reason           string
}

func (e *UnknownError) Error() string { return e.Reason }

// Lookup returns the kind for an apiVersion and kind as written in YAML. The error is always
// an *UnknownError: it tells apart a wrong version, a misspelt kind, and a kind that Lateen
// does not handle.
func Lookup(apiVersion, kind string) (*Kind, error) {
	group, version, found := strings.Cut(apiVersion, "/")
	if !found {
		group, version = "", apiVersion
	}
	unknown := func(format string, args ...any) (*Kind, error) {
		return nil, &UnknownError{APIVersion: apiVersion, Kind: kind, Reason: fmt.Sprintf(format, args...)}
	}
	for _, k := range All() {
		if k.Group != group || k.Name != kind {
			continue
		}
		if !k.Serves(version) {
			return unknown("%s has no version %q; use %s", kind, version, apiVersions(k))
		}
		return k, nil
	}
	if group == GatewayAPIGroup {
		return unknown("%s of the Gateway API is not supported; there are %s", kind, gatewayAPINames())
	}
	for _, k := range All() {
		if strings.EqualFold(k.Name, kind) {
			return unknown("there is no kind %s in %s; use apiVersion %s with kind %s", kind, quoteGroup(group, version), apiVersions(k), k.Name)
		}
	}
	if near := nearest(kind); near != nil {
		return unknown("there is no kind %s in %s; did you mean %s (%s)?", kind, quoteGroup(group, version), near.Name, apiVersions(near))
	}
	return unknown("%s of %s is not a kind that lateen handles; it takes %s", kind, quoteGroup(group, version), names())
}

// ByResource returns the kind for what a person types on the command line: kind, singular,
// plural, short name, with or without the group (vs, virtualservice.networking.istio.io).
// Nil if there is none; the first of AllByResource if there are several.
func ByResource(word string) *Kind {
	if kinds := AllByResource(word); len(kinds) > 0 {
		return kinds[0]
	}
	return nil
}

// AllByResource returns all kinds that a word can mean: without its group, gateway is Istio's and the Gateway API's.
func AllByResource(word string) []*Kind {
	word = strings.ToLower(word)
	name, group, qualified := strings.Cut(word, ".")
	var out []*Kind
	for _, k := range All() {
		if qualified && group != k.Group && !isVersionAndGroup(k, group) {
			continue
		}
		if name == k.Singular || name == k.Plural || slices.Contains(k.ShortNames, name) {
			out = append(out, k)
		}
	}
	return out
}

// isVersionAndGroup accepts kubectl's third form, virtualservices.v1beta1.networking.istio.io.
func isVersionAndGroup(k *Kind, s string) bool {
	version, group, _ := strings.Cut(s, ".")
	return group == k.Group && k.Serves(version)
}

func apiVersions(k *Kind) string {
	var vs []string
	for _, v := range k.Versions {
		vs = append(vs, k.GroupVersion(v))
	}
	return orList(vs)
}

func quoteGroup(group, version string) string {
	if group == "" {
		return fmt.Sprintf("%q", version)
	}
	return fmt.Sprintf("%q", group+"/"+version)
}

func names() string {
	var ns []string
	for _, k := range All() {
		ns = append(ns, k.Name)
	}
	return strings.Join(ns, ", ")
}

func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// nearest finds a kind whose name differs from the given one by at most two edits.
func nearest(kind string) *Kind {
	for _, k := range All() {
		if Near(strings.ToLower(k.Name), strings.ToLower(kind)) {
			return k
		}
	}
	return nil
}

// Near reports whether two words differ by at most two edits, and so may be one misspelt.
// Words of three letters and fewer must differ by one at most.
func Near(a, b string) bool {
	limit := 2
	if len(a) <= 3 || len(b) <= 3 {
		limit = 1
	}
	if len(a)-len(b) > limit || len(b)-len(a) > limit || len(a) > 64 || len(b) > 64 {
		return false
	}
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
		}
		prev, cur = cur, prev
	}
	return prev[len(b)] <= limit
}
