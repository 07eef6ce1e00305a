package model

import (
	"strconv"
	"strings"
)

// Origin says which object a value came from, and where that object was written.
type Origin struct {
	APIVersion string // "networking.istio.io/v1"
	Kind       string // "VirtualService"
	Namespace  string
	Name       string
	File       string // empty when the object did not come from a file
	Line       int    // 1-based; 0 when unknown
	Field      string // path inside the object, "spec.http[0]"; empty for the whole object
}

// At returns o narrowed to a field and its line; a line of 0 keeps that of the object.
func (o Origin) At(field string, line int) Origin {
	o.Field = field
	if line > 0 {
		o.Line = line
	}
	return o
}

// IsZero reports whether o names no object.
func (o Origin) IsZero() bool { return o.Kind == "" && o.Name == "" }

// String gives "VirtualService istioinaction/catalog (shop.yaml:12)".
func (o Origin) String() string {
	s := o.Kind + " " + o.Namespace + "/" + o.Name
	if o.File != "" {
		s += " (" + o.File
		if o.Line > 0 {
			s += ":" + strconv.Itoa(o.Line)
		}
		s += ")"
	}
	return s
}

// IstioPath is the form in which Istio names an object in a resource's "istio" metadata:
// "/apis/networking.istio.io/v1alpha3/namespaces/shop/destination-rule/catalog". Istio writes
// v1alpha3 whatever version the object was written in, and tools parse it so.
func (o Origin) IstioPath() string {
	group, _, _ := strings.Cut(o.APIVersion, "/")
	version := "v1"
	if group == "networking.istio.io" || group == "" {
		group, version = "networking.istio.io", "v1alpha3"
	}
	return "/apis/" + group + "/" + version + "/namespaces/" + o.Namespace + "/" + kebab(o.Kind) + "/" + o.Name
}

func kebab(kind string) string {
	var b strings.Builder
	for i, r := range kind {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('-')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
