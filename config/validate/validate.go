// Package validate judges single objects: values that have the right type but make no sense, by
// Istio's rules (https://istio.io/latest/docs/reference/config/) and, for core kinds, by
// Kubernetes'. It goes on after a problem and reports all.
//
// It sees one object at a time; whether a gateway, host or subset that is named exists is
// config/analyze's question. Only the packages below config import it.
package validate

import (
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/lateen-mesh/lateen/config/internal/field"
	"github.com/lateen-mesh/lateen/config/schema"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Problem is one broken rule.
type Problem struct {
	Field string // from the object's root: spec.http[0].timeout
	Text  string // what is wrong and what to do
}

// checker collects problems.
type checker struct {
	problems []Problem
}

func (c *checker) add(p *field.Path, format string, args ...any) {
	c.problems = append(c.problems, Problem{Field: p.String(), Text: fmt.Sprintf(format, args...)})
}

// Object returns the broken rules of one object. meta is its metadata as written, spec its
// Kind's Go value.
func Object(kind *schema.Kind, meta metav1.ObjectMeta, spec any) []Problem {
	c := &checker{}
	c.meta(kind, meta)
	if check := rules[kind]; check != nil {
		root := (*field.Path)(nil)
		if kind.HasSpec {
			root = root.Child("spec")
		}
		check(c, root, spec)
	}
	// Maps are walked in random order; messages must not be.
	sort.SliceStable(c.problems, func(i, j int) bool { return c.problems[i].Field < c.problems[j].Field })
	return c.problems
}

// The patterns are Kubernetes' (RFC 1123 names, RFC 1035 labels).
var (
	subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	label1123 = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	label1035 = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)
	labelName = regexp.MustCompile(`^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$`)
)

func (c *checker) meta(kind *schema.Kind, meta metav1.ObjectMeta) {
	m := (*field.Path)(nil).Child("metadata")
	switch {
	case meta.Name == "" && meta.GenerateName != "":
		c.add(m.Child("generateName"), "generated names are not supported; set metadata.name")
	case meta.Name == "":
		c.add(m.Child("name"), "missing; every object needs a name")
	case kind == schema.Service && (!label1035.MatchString(meta.Name) || len(meta.Name) > 63):
		c.add(m.Child("name"), "%q is not a name for a Service: lower-case letters, digits and '-', at most 63, beginning with a letter", meta.Name)
	case len(meta.Name) > 253 || !subdomain.MatchString(meta.Name):
		c.add(m.Child("name"), "%q is not a name: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit", meta.Name)
	}
	if meta.Namespace != "" && kind.Namespaced && (!label1123.MatchString(meta.Namespace) || len(meta.Namespace) > 63) {
		c.add(m.Child("namespace"), "%q is not a namespace: lower-case letters, digits and '-', at most 63", meta.Namespace)
	}
	c.labels(m.Child("labels"), meta.Labels)
	for k := range meta.Annotations {
		c.qualifiedName(m.Child("annotations", k), strings.ToLower(k))
	}
}

// labels checks keys and values of a label map.
func (c *checker) labels(p *field.Path, labels map[string]string) {
	for k, v := range labels {
		c.qualifiedName(p.Child(k), k)
		if v != "" && (len(v) > 63 || !labelName.MatchString(v)) {
			c.add(p.Child(k), "%q is not a label's value: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit", v)
		}
	}
}

func (c *checker) qualifiedName(p *field.Path, key string) {
	name := key
	if before, after, ok := strings.Cut(key, "/"); ok {
		if len(before) > 253 || !subdomain.MatchString(before) {
			c.add(p, "the part before the slash, %q, is not a DNS name", before)
		}
		name = after
	}
	if len(name) > 63 || !labelName.MatchString(name) {
		c.add(p, "%q is not a key: at most 63 letters, digits, '-', '_' and '.'", name)
	}
}

// rules holds the check of each kind that has rules beyond its types.
var rules = map[*schema.Kind]func(*checker, *field.Path, any){
	schema.Service:               service,
	schema.Secret:                secret,
	schema.Deployment:            deployment,
	schema.Gateway:               gateway,
	schema.VirtualService:        virtualService,
	schema.DestinationRule:       destinationRule,
	schema.ServiceEntry:          serviceEntry,
	schema.WorkloadEntry:         workloadEntry,
	schema.WorkloadGroup:         workloadGroup,
	schema.Sidecar:               sidecar,
	schema.EnvoyFilter:           envoyFilter,
	schema.ProxyConfig:           proxyConfig,
	schema.PeerAuthentication:    peerAuthentication,
	schema.RequestAuthentication: requestAuthentication,
	schema.AuthorizationPolicy:   authorizationPolicy,
	schema.Telemetry:             telemetryPolicy,
	schema.WasmPlugin:            wasmPlugin,
	schema.TrafficExtension:      trafficExtension,
	schema.IstioOperator:         istioOperator,
	schema.K8sGatewayClass:       gatewayClass,
	schema.K8sGateway:            k8sGateway,
	schema.HTTPRoute:             httpRouteSpec,
	schema.GRPCRoute:             grpcRoute,
	schema.TLSRoute:              k8sTLSRoute,
	schema.TCPRoute:              k8sTCPRoute,
	schema.ReferenceGrant:        referenceGrant,
	schema.IngressClass:          ingressClass,
	schema.Ingress:               ingress,
}
