package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/config/internal/decode"
	"github.com/lateen-mesh/lateen/config/schema"
	"go.yaml.in/yaml/v3"
)

// Key names an object. It can be a map key.
type Key struct {
	Kind            *schema.Kind
	Namespace, Name string
}

// String returns the form of messages: VirtualService istioinaction/catalog.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Kind.Name + " " + k.Name
	}
	return k.Kind.Name + " " + k.Namespace + "/" + k.Name
}

// Source is where an object was read.
type Source struct {
	// File is the path as it was given; "-" is standard input. Empty for an object that was
	// not read from a file.
	File string
	// Line is where the object's document begins, from 1.
	Line int
}

// String returns file:line.
func (s Source) String() string {
	if s.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", s.File, s.Line)
}

// GatewayServiceAnnotation names, as in Istio, the host of the Service whose workloads serve a Gateway that was made of the Gateway API's.
const GatewayServiceAnnotation = "internal.istio.io/gateway-service"

// Object is one validated object.
type Object struct {
	Kind *schema.Kind
	// APIVersion is as written, for example networking.istio.io/v1beta1. The Go type of
	// Spec is the same for every served version.
	APIVersion      string
	Name, Namespace string
	Labels          map[string]string
	Annotations     map[string]string
	// Created is metadata.creationTimestamp, else the time of the file; zero if neither is known.
	Created time.Time
	// UID and Generation are as in metadata; empty and zero if not given.
	UID        string
	Generation int64
	// ResourceVersion changes with every change of the object. Load leaves it empty; a store
	// may fill it.
	ResourceVersion string
	// Spec points to the proto of the spec for Istio's kinds (such as
	// *networking/v1alpha3.VirtualService), to the whole object for core kinds (such as
	// *corev1.Service, metadata included).
	Spec   any
	Source Source
	// Conditions are status.conditions: what the mesh has observed. Nothing else of a status is read.
	Conditions []Condition
	// Status is the whole status, in JSON, of an object whose status is asked of the control plane rather than read from a file: one of the Gateway API or an Ingress.
	Status json.RawMessage

	tree     *decode.Tree
	document *yaml.Node // the object's mapping, when LoadOptions.KeepText was set
	comments *yaml.Node // the document around it, which carries head and foot comments
	offset   int        // lines before the document in its file
}

// ConditionHealthy is the type of a WorkloadEntry's condition that tells of its workload's health checks.
const ConditionHealthy = "Healthy"

// Condition is one of an object's status.conditions, in the form of Kubernetes and of istio.meta.v1alpha1.IstioCondition.
type Condition struct {
	Type               string    `json:"type"`
	Status             string    `json:"status"` // True, False or Unknown
	LastProbeTime      time.Time `json:"lastProbeTime,omitzero"`
	LastTransitionTime time.Time `json:"lastTransitionTime,omitzero"`
	Reason             string    `json:"reason,omitempty"`
	Message            string    `json:"message,omitempty"`
}

// Condition returns the condition of a type, the zero value when there is none.
func (o *Object) Condition(typ string) Condition {
	for _, c := range o.Conditions {
		if c.Type == typ {
			return c
		}
	}
	return Condition{}
}

// Key returns the object's name.
func (o *Object) Key() Key { return Key{o.Kind, o.Namespace, o.Name} }

// String returns the form of messages: VirtualService istioinaction/catalog.
func (o *Object) String() string { return o.Key().String() }

// Position returns the line of a field, for example of spec.http[0].route[0].destination.subset.
// If the object does not have the field, it is the line of the deepest part that it has. Zero if
// the object was not read from text.
func (o *Object) Position(fieldPath string) int {
	if o.tree == nil {
		return o.Source.Line
	}
	line, _ := o.tree.Find(fieldPath)
	return line + o.offset
}

// Has reports whether the field was written, even with its default value.
func (o *Object) Has(fieldPath string) bool {
	if o.tree == nil {
		return false
	}
	_, exact := o.tree.Find(fieldPath)
	return exact
}

// Problem is one mistake in a file. As an error it reads
// `file:line: field: what is wrong, what to do`.
type Problem struct {
	File string
	Line int // 0 if unknown
	// Key is the object, with a nil Kind if the document's kind or name is not known.
	Key   Key
	Field string // empty if the document as a whole is meant
	Text  string
}

func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field)
		b.WriteString(": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Problems are all mistakes of a file set. It is the error that Load returns.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns nil if there are no problems.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}
