package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/config/internal/decode"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
)

// Map returns the object as JSON-like values: apiVersion, kind, metadata and what the kind has
// besides. If the object's text was kept (LoadOptions.KeepText), values are as the user wrote
// them (3m stays 3m), otherwise they are in the proto's JSON form (180s). Of a status it has the conditions.
func (o *Object) Map() (map[string]any, error) {
	out, err := o.content()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o, err)
	}
	delete(out, "status")
	switch {
	case len(o.Status) > 0:
		var status any
		if err := json.Unmarshal(o.Status, &status); err != nil {
			return nil, fmt.Errorf("%s: status: %w", o, err)
		}
		out["status"] = status
	case len(o.Conditions) > 0:
		out["status"] = map[string]any{"conditions": o.Conditions}
	}
	out["apiVersion"], out["kind"] = o.APIVersion, o.Kind.Name
	meta := map[string]any{"name": o.Name}
	if o.Namespace != "" {
		meta["namespace"] = o.Namespace
	}
	if len(o.Labels) > 0 {
		meta["labels"] = toAny(o.Labels)
	}
	if len(o.Annotations) > 0 {
		meta["annotations"] = toAny(o.Annotations)
	}
	if !o.Created.IsZero() {
		meta["creationTimestamp"] = o.Created.UTC().Format(time.RFC3339)
	}
	if o.UID != "" {
		meta["uid"] = o.UID
	}
	if o.Generation != 0 {
		meta["generation"] = o.Generation
	}
	if o.ResourceVersion != "" {
		meta["resourceVersion"] = o.ResourceVersion
	}
	out["metadata"] = meta
	return out, nil
}

func toAny(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// content returns the object's fields besides metadata.
func (o *Object) content() (map[string]any, error) {
	if o.document != nil {
		var d decode.Decoder
		var v any
		d.Into(o.document, nil, &v, &decode.Tree{})
		m, ok := v.(map[string]any)
		if ps := d.Problems(); len(ps) > 0 || !ok {
			return nil, fmt.Errorf("cannot be read again: %v", ps)
		}
		return m, nil
	}
	var b []byte
	var err error
	if m, ok := o.Spec.(proto.Message); ok {
		b, err = protojson.Marshal(m)
	} else {
		b, err = json.Marshal(o.Spec)
	}
	if err != nil {
		return nil, err
	}
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	if o.Kind.HasSpec {
		return map[string]any{"spec": m}, nil
	}
	return m, nil
}

// Text returns the object as a YAML document for a file. If the object's text was kept, its
// comments, order and notation stay; namespace, creationTimestamp and generation are brought up
// to date in its metadata, and what servers add (status, managedFields, resourceVersion, uid) is
// left out.
func (o *Object) Text() ([]byte, error) {
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	if o.document == nil {
		m, err := o.Map()
		if err != nil {
			return nil, err
		}
		delete(m, "status")
		if err := enc.Encode(m); err != nil {
			return nil, fmt.Errorf("%s: %w", o, err)
		}
		return buf.Bytes(), enc.Close()
	}
	top := clone(o.document, o.document.Style&yaml.FlowStyle != 0)
	drop(top, "status")
	meta := child(top, "metadata")
	for _, name := range []string{"managedFields", "resourceVersion", "uid", "selfLink", "generateName"} {
		drop(meta, name)
	}
	if o.Namespace != "" {
		set(meta, "namespace", o.Namespace, "!!str")
	}
	if !o.Created.IsZero() {
		set(meta, "creationTimestamp", o.Created.UTC().Format(time.RFC3339), "!!timestamp")
	}
	if o.Generation != 0 {
		set(meta, "generation", strconv.FormatInt(o.Generation, 10), "!!int")
	}
	out := top
	if o.comments != nil {
		doc := *o.comments
		doc.Content = []*yaml.Node{top}
		out = &doc
	}
	if err := enc.Encode(out); err != nil {
		return nil, fmt.Errorf("%s: %w", o, err)
	}
	return buf.Bytes(), enc.Close()
}

// clone copies a node with its aliases written out, because an anchor may stand outside of the
// object. block turns JSON's notation into YAML's.
func clone(n *yaml.Node, block bool) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	c := *n
	c.Anchor = ""
	if block {
		c.Style &^= yaml.FlowStyle | yaml.DoubleQuotedStyle
	}
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, e := range n.Content {
		c.Content[i] = clone(e, block)
	}
	return &c
}

func child(n *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	v := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, v)
	return v
}

func set(n *yaml.Node, name, value, tag string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			n.Content[i+1].Value, n.Content[i+1].Tag, n.Content[i+1].Style = value, tag, 0
			return
		}
	}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value})
}

func drop(n *yaml.Node, name string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			n.Content = append(n.Content[:i:i], n.Content[i+2:]...)
			return
		}
	}
}

// Stamp returns a copy of the object with another creation time and generation.
func (o *Object) Stamp(created time.Time, generation int64) *Object {
	c := *o
	c.Created, c.Generation = created, generation
	return &c
}

// Same reports whether two objects say the same: apiVersion, labels, annotations and content.
// Creation time, generation and where they were read do not count.
func Same(a, b *Object) bool {
	if a.Key() != b.Key() || a.APIVersion != b.APIVersion || !sameMap(a.Labels, b.Labels) || !sameMap(a.Annotations, b.Annotations) {
		return false
	}
	return SameSpec(a, b)
}

// SameSpec reports whether two objects of a kind have the same content, metadata aside.
func SameSpec(a, b *Object) bool {
	if a.Kind != b.Kind {
		return false
	}
	if m, ok := a.Spec.(proto.Message); ok {
		return proto.Equal(m, b.Spec.(proto.Message))
	}
	x, errX := json.Marshal(withoutMeta(a.Spec))
	y, errY := json.Marshal(withoutMeta(b.Spec))
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// withoutMeta returns the content of a core kind: metadata is compared by its own rules.
func withoutMeta(spec any) any {
	switch s := spec.(type) {
	case *corev1.Service:
		return s.Spec
	case *corev1.Secret:
		return []any{s.Type, s.Data, s.StringData, s.Immutable}
	case *corev1.ConfigMap:
		return []any{s.Data, s.BinaryData, s.Immutable}
	case *corev1.ServiceAccount:
		return []any{s.Secrets, s.ImagePullSecrets, s.AutomountServiceAccountToken}
	case *corev1.Namespace:
		return s.Spec
	}
	return spec
}

func sameMap(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			return false
		}
	}
	return true
}
