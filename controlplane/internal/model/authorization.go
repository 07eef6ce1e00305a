package model

import (
	"sort"
	"time"

	security "istio.io/api/security/v1beta1"
)

// AuthorizationPolicy says who may do what at a workload.
// https://istio.io/latest/docs/reference/config/security/authorization-policy/
type AuthorizationPolicy struct {
	Namespace string
	Name      string
	Attachment
	Action security.AuthorizationPolicy_Action
	// Rules are as the object has them and must not be changed. None: the policy matches nothing.
	Rules []*security.Rule
	// Provider is whom action CUSTOM asks, by the name of an extensionProvider of the mesh.
	Provider string
	// DryRun (annotation istio.io/dry-run): it decides nothing, and what it would have decided is counted and logged.
	DryRun  bool
	Created time.Time
	Origin  Origin
	Rev     uint64
}

// Authorizer is an external authorizer: a server of Envoy's ext_authz protocol over gRPC, or of HTTP.
// https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ExtensionProvider-EnvoyExternalAuthorizationHttpProvider
type Authorizer struct {
	To         ProviderService
	GRPC       bool
	Timeout    time.Duration // 10m when nothing is said
	FailOpen   bool
	Reroute    bool            // clearRouteCache
	OnError    uint32          // status when it cannot be asked, 0: 403
	Body       *AuthorizerBody // of the request; nil: none
	PathPrefix string          // of requests to it
	// Headers of the request that it is shown, beside those of every check; ExtraHeaders are the same in every check.
	Headers      []string
	ExtraHeaders [][2]string
	// Headers of its answer: to the server, and to the client when it refused or when it allowed.
	ToUpstream, ToClientOnDeny, ToClientOnAllow []string
}

// AuthorizerBody says how much of a request's body an authorizer is shown.
type AuthorizerBody struct {
	MaxBytes       uint32
	Partial, Bytes bool // allowPartialMessage, packAsBytes
}

// AuthorizationsFor returns the policies of a workload: the mesh's, those of its namespace, and those that select it, by namespace and name.
func (s *Snapshot) AuthorizationsFor(ns string, labels map[string]string) []*AuthorizationPolicy {
	return policiesFor(s, s.AuthorizationPolicies, ns, labels, func(p *AuthorizationPolicy) (*Attachment, string, string) {
		return &p.Attachment, p.Namespace, p.Name
	})
}

// policiesFor finds the policies of a kind for a workload, all of which count, in the order of their keys.
func policiesFor[P any](s *Snapshot, t Table[P], ns string, labels map[string]string, of func(P) (at *Attachment, namespace, name string)) []P {
	var out []P
	add := func(namespace string) {
		for _, p := range t.Prefix(namespace + "/") {
			if at, namespace, _ := of(p); at.attaches(namespace, ns, labels) {
				out = append(out, p)
			}
		}
	}
	add(s.Mesh.RootNamespace)
	if ns != s.Mesh.RootNamespace {
		add(ns)
	}
	sort.SliceStable(out, func(i, j int) bool {
		_, a, first := of(out[i])
		_, b, second := of(out[j])
		return a+"/"+first < b+"/"+second
	})
	return out
}
