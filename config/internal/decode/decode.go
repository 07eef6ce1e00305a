// Package decode turns parsed YAML into Istio's protos and Kubernetes' Go types, strictly: an
// unknown field, a wrong type, an unknown enum value and a key given twice are problems with a
// line and a field path. It goes on after a problem, so that one run finds them all.
//
// Why not protojson and sigs.k8s.io/yaml: both convert YAML to JSON first, which loses the lines,
// and both stop at the first mistake. The walk here is over yaml.Node, guided by the proto's
// descriptor or by the Go type's json tags.
//
// It does not judge values beyond their type; config/validate does. Only config imports it.
package decode

import (
	"fmt"
	"reflect"
	"sort"
	"strings"

	"github.com/lateen-mesh/lateen/config/internal/field"
	"github.com/lateen-mesh/lateen/config/schema"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
)

const (
	// maxDepth bounds nesting. Istio's deepest objects (an EnvoyFilter's Envoy config) stay
	// well below it.
	maxDepth = 100
	// maxNodes bounds how many nodes a document may have once aliases are followed, so that a
	// few lines of nested aliases cannot become gigabytes.
	maxNodes = 500_000
	// maxProblems ends the walk of a document that is wrong everywhere.
	maxProblems = 100
)

// Problem is one mistake in a document.
type Problem struct {
	Line  int // within the parsed text, from 1
	Field string
	Text  string
}

// Tree records on which line each field of an object stands.
type Tree struct {
	Name string // field, map key; empty for a list's element
	Line int32
	Kids []Tree
}

// Find returns the line of the deepest part of the path that the object has.
func (t *Tree) Find(path string) (line int, exact bool) {
	line = int(t.Line)
	for _, s := range field.Split(path) {
		var next *Tree
		if s.Index >= 0 {
			if s.Index < len(t.Kids) && t.Kids[s.Index].Name == "" {
				next = &t.Kids[s.Index]
			}
		} else {
			for i := range t.Kids {
				if t.Kids[i].Name == s.Name {
					next = &t.Kids[i]
					break
				}
			}
		}
		if next == nil {
			return line, false
		}
		t, line = next, int(next.Line)
	}
	return line, true
}

// Decoder walks one document.
type Decoder struct {
	problems []Problem
	nodes    int
	stopped  bool
}

// Problems returns what was found so far, in the order of lines.
func (d *Decoder) Problems() []Problem {
	sort.SliceStable(d.problems, func(i, j int) bool { return d.problems[i].Line < d.problems[j].Line })
	return d.problems
}

// Into decodes the node into the target, a pointer: a proto.Message or a Go type with json tags.
func (d *Decoder) Into(n *yaml.Node, path *field.Path, target any, t *Tree) {
	if m, ok := target.(proto.Message); ok {
		d.message(n, path, m.ProtoReflect(), t, 0)
		return
	}
	d.value(n, path, reflect.ValueOf(target).Elem(), t, 0)
}

// Problem adds a mistake at the node.
func (d *Decoder) Problem(n *yaml.Node, path *field.Path, format string, args ...any) {
	if d.stopped {
		return
	}
	d.problems = append(d.problems, Problem{Line: n.Line, Field: shortPath(path.String()), Text: fmt.Sprintf(format, args...)})
	if len(d.problems) >= maxProblems {
		d.stopped = true
	}
}

// shortPath keeps the path of something nested absurdly deep readable.
func shortPath(path string) string {
	const limit = 160
	if len(path) <= limit {
		return path
	}
	return strings.ToValidUTF8(path[:limit], "") + "..."
}

// enter follows an alias and counts the node. It returns nil when the walk has to end here.
func (d *Decoder) enter(n *yaml.Node, path *field.Path, depth int) *yaml.Node {
	if d.stopped {
		return nil
	}
	d.nodes++
	if d.nodes > maxNodes {
		d.Problem(n, path, "the document grows beyond %d values when its aliases are followed; write it without nested aliases", maxNodes)
		d.stopped = true
		return nil
	}
	if depth > maxDepth {
		d.Problem(n, path, "nested deeper than %d levels; an alias may refer to itself", maxDepth)
		return nil
	}
	if n.Kind == yaml.AliasNode {
		if n.Alias == nil {
			d.Problem(n, path, "unknown anchor %q", n.Value)
			return nil
		}
		return n.Alias
	}
	return n
}

// Pair is one entry of a mapping.
type Pair struct {
	Key, Value *yaml.Node
}

// Pairs returns a mapping's entries with merge keys (<<) expanded. A key given twice is a
// problem; a key of the mapping itself wins over a merged one.
func (d *Decoder) Pairs(n *yaml.Node, path *field.Path) []Pair {
	return d.pairs(n, path, 0)
}

func (d *Decoder) pairs(n *yaml.Node, path *field.Path, depth int) []Pair {
	out := make([]Pair, 0, len(n.Content)/2)
	seen := make(map[string]int, len(n.Content)/2)
	var merged []Pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.AliasNode && k.Alias != nil {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			d.Problem(k, path, "a key must be a word, not a %s", Describe(k))
			continue
		}
		if k.Tag == "!!merge" {
			merged = append(merged, d.merge(v, path, depth)...)
			continue
		}
		if line, dup := seen[k.Value]; dup {
			d.Problem(k, path.Child(k.Value), "given twice, first on line %d; remove one", line)
			continue
		}
		seen[k.Value] = k.Line
		out = append(out, Pair{k, v})
	}
	for _, p := range merged {
		if _, dup := seen[p.Key.Value]; !dup {
			seen[p.Key.Value] = p.Key.Line
			out = append(out, p)
		}
	}
	return out
}

func (d *Decoder) merge(v *yaml.Node, path *field.Path, depth int) []Pair {
	v = d.enter(v, path, depth)
	switch {
	case v == nil:
		return nil
	case depth > maxDepth:
		d.Problem(v, path, "merge keys are nested deeper than %d levels", maxDepth)
		return nil
	case v.Kind == yaml.MappingNode:
		return d.pairs(v, path, depth+1)
	case v.Kind == yaml.SequenceNode:
		var out []Pair
		for _, e := range v.Content {
			out = append(out, d.merge(e, path, depth+1)...)
		}
		return out
	}
	d.Problem(v, path, "a merge key (<<) takes a mapping, not %s", Describe(v))
	return nil
}

// mapping checks that the node is a mapping and returns its entries; false if it is not one.
// Null counts as an empty mapping, as in kubectl.
func (d *Decoder) mapping(n *yaml.Node, path *field.Path, depth int) ([]Pair, bool) {
	if isNull(n) {
		return nil, true
	}
	if n.Kind != yaml.MappingNode {
		d.Problem(n, path, "got %s, expected fields (a mapping)", Describe(n))
		return nil, false
	}
	return d.pairs(n, path, depth), true
}

// Describe names a node for a message: `the list`, `the number 80`, `the text "abc"`.
func Describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "the number " + shorten(n.Value)
	case "!!bool":
		return "the boolean " + n.Value
	case "!!timestamp":
		return "the date " + shorten(n.Value)
	}
	return fmt.Sprintf("the text %q", shorten(n.Value))
}

func shorten(s string) string {
	const limit = 60
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "..."
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// unknownField words the message for a field that does not exist, with the likely one.
func (d *Decoder) unknownField(key *yaml.Node, path *field.Path, known []string) {
	sort.Strings(known)
	for _, k := range known {
		if strings.EqualFold(k, key.Value) {
			d.Problem(key, path.Child(key.Value), "unknown field; did you mean %s?", k)
			return
		}
	}
	for _, k := range known {
		if schema.Near(k, key.Value) {
			d.Problem(key, path.Child(key.Value), "unknown field; did you mean %s?", k)
			return
		}
	}
	if len(known) == 0 {
		d.Problem(key, path.Child(key.Value), "unknown field; nothing can be set here, so remove it")
		return
	}
	d.Problem(key, path.Child(key.Value), "unknown field; known here: %s", strings.Join(known, ", "))
}
