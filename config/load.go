package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/config/internal/decode"
	"github.com/lateen-mesh/lateen/config/internal/field"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/config/validate"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MaxFileSize is the largest file that is read, in bytes. Kubernetes takes objects of up to
// 1.5 MB; a file may hold several.
const MaxFileSize = 16 << 20

// File is one file of YAML or JSON, of any number of documents.
type File struct {
	// Name is used in messages and in Object.Source.
	Name string
	Data []byte
	// ModTime stands in for metadata.creationTimestamp where that is missing. May be zero.
	ModTime time.Time
}

// LoadOptions adjust Load. The zero value is ready for use.
type LoadOptions struct {
	// Namespace is given to namespaced objects that name none. Empty means "default".
	Namespace string
	// KeepText keeps each document's text in memory, so that Object.YAML can write it back
	// with its comments and the user's notation. The command line sets it, a store does not.
	KeepText bool
}

// Load parses and validates files. The set holds every object that is right; the error, nil or
// of type Problems, holds every mistake of every file. A caller who applies files refuses the
// whole set on error; a store keeps what is right and the last good form of what is not
// (Problem.Key says which object is meant).
//
// An object that occurs twice in the files is a problem; the first stays in the set.
func Load(files []File, opts LoadOptions) (*Set, error) {
	l := loader{opts: opts, seen: map[Key]*Object{}}
	if l.opts.Namespace == "" {
		l.opts.Namespace = metav1.NamespaceDefault
	}
	for _, f := range files {
		l.file(f)
	}
	return NewSet(l.objects...), l.problems.Err()
}

type loader struct {
	opts     LoadOptions
	objects  []*Object
	problems Problems
	seen     map[Key]*Object
}

func (l *loader) file(f File) {
	if len(f.Data) > MaxFileSize {
		l.problems = append(l.problems, Problem{File: f.Name, Text: fmt.Sprintf("the file has %d bytes, the limit is %d; split it", len(f.Data), MaxFileSize)})
		return
	}
	for _, doc := range splitDocuments(f.Data) {
		l.document(f, doc)
	}
}

// text is one document of a file.
type text struct {
	data   []byte
	offset int // lines before it
}

// splitDocuments cuts at lines that begin with ---, as kubectl does, so that a syntax error in
// one document does not hide the others. Such a line cannot be inside a document: block text is
// indented.
func splitDocuments(data []byte) []text {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var docs []text
	start, offset, line := 0, 0, 0
	for at := 0; at < len(data); line++ {
		end := bytes.IndexByte(data[at:], '\n') + 1
		if end == 0 {
			end = len(data) - at
		}
		l := data[at : at+end]
		if bytes.HasPrefix(l, []byte("---")) && (len(l) == 3 || strings.ContainsRune(" \t\r\n", rune(l[3]))) {
			docs = append(docs, text{data[start:at], offset})
			// What follows the dashes on their line (a comment, or a value) belongs to
			// the document; the line itself stays, so that lines count from it.
			start, offset = at, line
		}
		at += end
	}
	return append(docs, text{data[start:], offset})
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

func (l *loader) document(f File, doc text) {
	data := doc.data
	if t := bytes.TrimSpace(data); len(t) > 0 && (t[0] == '{' || t[0] == '[') {
		// JSON may be indented with tabs, YAML may not. A string of JSON holds no tab.
		data = bytes.ReplaceAll(data, []byte{'\t'}, []byte{' '})
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		l.problems = append(l.problems, syntaxProblem(f.Name, doc.offset, err))
		return
	}
	if root.Kind == 0 || len(root.Content) == 0 {
		return // nothing but comments
	}
	top := root.Content[0]
	if top.Kind == yaml.ScalarNode && top.ShortTag() == "!!null" {
		return
	}
	o := one{loader: l, file: f, offset: doc.offset, comments: &root}
	o.read(top, nil)
}

// syntaxProblem takes the line out of the YAML parser's message.
func syntaxProblem(file string, offset int, err error) Problem {
	p := Problem{File: file, Line: offset + 1, Text: strings.TrimPrefix(err.Error(), "yaml: ")}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		if n, convErr := strconv.Atoi(m[1]); convErr == nil {
			p.Line = offset + n
		}
		p.Text = strings.TrimPrefix(err.Error(), m[0])
	}
	p.Text = "not valid YAML: " + p.Text
	return p
}

// one reads one document, or one element of a list's items.
type one struct {
	*loader
	file     File
	offset   int
	comments *yaml.Node
}

func (o *one) report(key Key, ps []decode.Problem) {
	for _, p := range ps {
		o.problems = append(o.problems, Problem{File: o.file.Name, Line: p.Line + o.offset, Key: key, Field: p.Field, Text: p.Text})
	}
}

func (o *one) read(n *yaml.Node, path *field.Path) {
	var d decode.Decoder
	if n.Kind != yaml.MappingNode {
		d.Problem(n, path, "got %s, expected an object with apiVersion, kind and metadata", decode.Describe(n))
		o.report(Key{}, d.Problems())
		return
	}
	parts := map[string]decode.Pair{}
	pairs := d.Pairs(n, path)
	for _, p := range pairs {
		parts[p.Key.Value] = p
	}
	word := func(name string) string {
		p, ok := parts[name]
		if !ok {
			d.Problem(n, path.Child(name), "missing; every object needs apiVersion and kind")
			return ""
		}
		if p.Value.Kind != yaml.ScalarNode {
			d.Problem(p.Value, path.Child(name), "got %s, expected text", decode.Describe(p.Value))
			return ""
		}
		return p.Value.Value
	}
	apiVersion, kindName := word("apiVersion"), word("kind")
	if apiVersion == "" || kindName == "" {
		o.report(Key{}, d.Problems())
		return
	}
	if items, ok := parts["items"]; ok && strings.HasSuffix(kindName, "List") {
		o.list(&d, parts, items.Value, path)
		return
	}
	kind, err := schema.Lookup(apiVersion, kindName)
	if err != nil {
		d.Problem(parts["kind"].Key, path.Child("kind"), "%v", err)
		o.report(Key{}, d.Problems())
		return
	}
	o.object(&d, n, pairs, kind, apiVersion, path)
}

// list reads the elements of `kind: List` and of kinds such as VirtualServiceList.
func (o *one) list(d *decode.Decoder, parts map[string]decode.Pair, items *yaml.Node, path *field.Path) {
	for name, p := range parts {
		switch name {
		case "apiVersion", "kind", "metadata", "items":
		default:
			d.Problem(p.Key, path.Child(name), "unknown field; a list has metadata and items")
		}
	}
	if items.Kind == yaml.AliasNode && items.Alias != nil {
		items = items.Alias
	}
	if items.Kind != yaml.SequenceNode {
		if items.ShortTag() != "!!null" {
			d.Problem(items, path.Child("items"), "got %s, expected a list", decode.Describe(items))
		}
		o.report(Key{}, d.Problems())
		return
	}
	o.report(Key{}, d.Problems())
	if path != nil {
		d = &decode.Decoder{}
		d.Problem(items, path.Child("items"), "a list inside a list; put its elements into the outer one")
		o.report(Key{}, d.Problems())
		return
	}
	for i, e := range items.Content {
		if e.Kind == yaml.AliasNode && e.Alias != nil {
			e = e.Alias
		}
		inner := *o
		inner.comments = nil
		inner.read(e, path.Child("items").Index(i))
	}
}

func (o *one) object(d *decode.Decoder, n *yaml.Node, pairs []decode.Pair, kind *schema.Kind, apiVersion string, path *field.Path) {
	obj := &Object{
		Kind: kind, APIVersion: apiVersion, Spec: kind.New(),
		Source: Source{File: o.file.Name, Line: n.Line + o.offset},
		tree:   &decode.Tree{Line: int32(n.Line)}, offset: o.offset,
	}
	if o.opts.KeepText {
		obj.document, obj.comments = n, o.comments
	}
	var meta metav1.ObjectMeta
	rest := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line}
	for _, p := range pairs {
		obj.tree.Kids = append(obj.tree.Kids, decode.Tree{Name: p.Key.Value, Line: int32(p.Key.Line)})
		kid := &obj.tree.Kids[len(obj.tree.Kids)-1]
		switch {
		case p.Key.Value == "apiVersion" || p.Key.Value == "kind":
		case p.Key.Value == "status":
			obj.Conditions = conditions(p.Value)
		case p.Key.Value == "metadata":
			d.Into(withoutManagedFields(p.Value), path.Child("metadata"), &meta, kid)
		case kind.HasSpec && p.Key.Value == "spec":
			d.Into(p.Value, path.Child("spec"), obj.Spec, kid)
		case kind.HasSpec:
			d.Problem(p.Key, path.Child(p.Key.Value), "unknown field; an object has apiVersion, kind, metadata and spec")
		default:
			obj.tree.Kids = obj.tree.Kids[:len(obj.tree.Kids)-1]
			rest.Content = append(rest.Content, p.Key, p.Value)
		}
	}
	if !kind.HasSpec {
		d.Into(rest, path, obj.Spec, obj.tree)
	}
	obj.setMeta(meta, o.opts.Namespace, o.file.ModTime)
	key := obj.Key()
	problems := d.Problems()
	// Rules are checked on what could be read even if something could not: one run tells all.
	unread := problems
	for _, v := range validate.Object(kind, meta, obj.Spec) {
		if within(unread, prefix(path, v.Field)) {
			continue // the value is missing because it could not be read
		}
		line, _ := obj.tree.Find(v.Field)
		problems = append(problems, decode.Problem{Line: line, Field: prefix(path, v.Field), Text: v.Text})
	}
	problems = append(problems, meshProblems(obj, path)...)
	if first := o.seen[key]; first != nil && obj.Name != "" {
		problems = append(problems, decode.Problem{Line: n.Line, Field: prefix(path, "metadata.name"),
			Text: fmt.Sprintf("%s is given twice, first at %s; remove one", key, first.Source)})
	}
	if len(problems) > 0 {
		sort.SliceStable(problems, func(i, j int) bool { return problems[i].Line < problems[j].Line })
		o.report(key, problems)
		return
	}
	o.seen[key] = obj
	o.objects = append(o.objects, obj)
}

// conditions reads a status, which is what somebody else observed: whatever stands there is accepted, as kubectl does, and what is no
// condition is left out.
func conditions(status *yaml.Node) []Condition {
	var found struct {
		Conditions []struct {
			Type, Status, Reason, Message string
			LastProbeTime                 string `yaml:"lastProbeTime"`
			LastTransitionTime            string `yaml:"lastTransitionTime"`
		}
	}
	if status.Decode(&found) != nil {
		return nil
	}
	var out []Condition
	for _, c := range found.Conditions {
		one := Condition{Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message}
		for _, at := range []struct {
			text string
			into *time.Time
		}{{c.LastProbeTime, &one.LastProbeTime}, {c.LastTransitionTime, &one.LastTransitionTime}} {
			if when, err := time.Parse(time.RFC3339Nano, at.text); err == nil {
				*at.into = when
			}
		}
		out = append(out, one)
	}
	return out
}

// meshProblems checks the mesh's settings where Istio keeps them: ConfigMap istio-system/istio,
// keys mesh and meshNetworks. Lines are counted from the key, as they stand in a block (mesh: |).
func meshProblems(obj *Object, path *field.Path) []decode.Problem {
	cm, ok := obj.Spec.(*corev1.ConfigMap)
	if !ok || !IsMeshConfig(obj.Key()) {
		return nil
	}
	var out []decode.Problem
	add := func(key string, err error) {
		at, _ := obj.tree.Find("data." + key)
		for _, p := range AsProblems(err) {
			f := "data." + key
			if p.Field != "" {
				f += "." + p.Field
			}
			out = append(out, decode.Problem{Line: at + p.Line, Field: prefix(path, f), Text: p.Text})
		}
	}
	_, err := ParseMeshConfig(File{Data: []byte(cm.Data["mesh"])})
	add("mesh", err)
	_, err = ParseMeshNetworks(File{Data: []byte(cm.Data[MeshNetworksKey])})
	add(MeshNetworksKey, err)
	return out
}

func (obj *Object) setMeta(meta metav1.ObjectMeta, namespace string, modTime time.Time) {
	if !obj.Kind.Namespaced {
		meta.Namespace = ""
	} else if meta.Namespace == "" {
		meta.Namespace = namespace
	}
	obj.Name, obj.Namespace = meta.Name, meta.Namespace
	obj.Labels, obj.Annotations = meta.Labels, meta.Annotations
	obj.UID, obj.Generation = string(meta.UID), meta.Generation
	obj.Created = meta.CreationTimestamp.Time
	if obj.Created.IsZero() {
		obj.Created = modTime
	}
	switch core := obj.Spec.(type) {
	case *corev1.Service:
		core.ObjectMeta = meta
	case *corev1.Secret:
		core.ObjectMeta = meta
	case *corev1.ConfigMap:
		core.ObjectMeta = meta
	case *corev1.ServiceAccount:
		core.ObjectMeta = meta
	case *corev1.Namespace:
		core.ObjectMeta = meta
	}
}

// withoutManagedFields drops what the API server adds for its own bookkeeping.
func withoutManagedFields(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return n
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "managedFields" {
			c := *n
			c.Content = append(append([]*yaml.Node{}, n.Content[:i]...), n.Content[i+2:]...)
			return &c
		}
	}
	return n
}

// within reports whether one of the problems concerns the field or something inside or around it.
func within(problems []decode.Problem, fieldPath string) bool {
	for _, p := range problems {
		if contains(p.Field, fieldPath) || contains(fieldPath, p.Field) {
			return true
		}
		// A rule about a value's neighbour often rests on the value that could not be read.
		if dir := parent(fieldPath); dir == parent(p.Field) && dir != "metadata" {
			return true
		}
	}
	return false
}

func parent(path string) string { return path[:max(strings.LastIndexByte(path, '.'), 0)] }

// contains reports whether the path inner is outer or below it.
func contains(outer, inner string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}

func prefix(path *field.Path, f string) string {
	if path == nil {
		return f
	}
	if f == "" {
		return path.String()
	}
	return path.String() + "." + f
}

// AsProblems returns the mistakes in an error of this package, nil for other errors.
func AsProblems(err error) Problems {
	var ps Problems
	if errors.As(err, &ps) {
		return ps
	}
	return nil
}
