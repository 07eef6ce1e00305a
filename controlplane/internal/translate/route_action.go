package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"net/http"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushosts "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// forward translates a rule's destinations. Nil: there is nowhere to go and nothing to answer.
func (rc *routeContext) forward(rule *model.HTTPRoute, r *routev3.Route) *routev3.Route_Route {
	if len(rule.Destinations) == 0 {
		return nil
	}
	a := &routev3.RouteAction{Timeout: seconds(rule.Timeout), RetryPolicy: rc.retryPolicy(rule.Retries)}
	a.MaxGrpcTimeout = seconds(rule.Timeout)
	if len(rule.Destinations) == 1 {
		d := &rule.Destinations[0]
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: rc.cluster(d.Destination)}
		applyDestinationHeaders(r, a, d.Headers)
		a.HashPolicy = rc.hashPolicy(d.Destination)
	} else {
		w := &routev3.WeightedCluster{}
		total := uint32(0)
		for i := range rule.Destinations {
			d := &rule.Destinations[i]
			if d.Weight == 0 {
				continue
			}
			cw := &routev3.WeightedCluster_ClusterWeight{Name: rc.cluster(d.Destination), Weight: u32(d.Weight)}
			var authority string
			cw.RequestHeadersToAdd, cw.RequestHeadersToRemove, authority = headerOptions(d.Headers.Request)
			cw.ResponseHeadersToAdd, cw.ResponseHeadersToRemove, _ = headerOptions(d.Headers.Response)
			if authority != "" {
				cw.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: authority}
			}
			w.Clusters = append(w.Clusters, cw)
			total += d.Weight
			if a.HashPolicy == nil {
				a.HashPolicy = rc.hashPolicy(d.Destination)
			}
		}
		if total == 0 {
			return nil // validation refuses it; there is no share to give
		}
		w.TotalWeight = u32(total)
		a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
	}
	if rw := rule.Rewrite; rw != nil {
		applyRewrite(a, rw)
	}
	for i := range rule.Mirrors {
		if m := rc.mirror(&rule.Mirrors[i]); m != nil {
			a.RequestMirrorPolicies = append(a.RequestMirrorPolicies, m)
		}
	}
	return &routev3.Route_Route{Route: a}
}

func applyDestinationHeaders(r *routev3.Route, a *routev3.RouteAction, h model.Headers) {
	add, remove, authority := headerOptions(h.Request)
	r.RequestHeadersToAdd, r.RequestHeadersToRemove = add, remove
	if authority != "" {
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: authority}
	}
	r.ResponseHeadersToAdd, r.ResponseHeadersToRemove, _ = headerOptions(h.Response)
}

// cluster names the cluster of a destination. Without a port it is the service's only one,
// else the one that the request came in on. A host that is not known keeps its name: Envoy
// answers 503 with NC, which tells more than a missing route.
func (rc *routeContext) cluster(d model.Destination) string {
	port := d.Port
	if port == 0 {
		port = rc.port
		if svc := rc.snap.Service(d.Host, rc.proxy.Namespace); svc != nil && len(svc.Ports) == 1 {
			port = svc.Ports[0].Number
		}
	}
	return ClusterName(port, d.Subset, d.Host)
}

func applyRewrite(a *routev3.RouteAction, rw *model.Rewrite) {
	switch {
	case rw.Regex != "":
		a.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: regex(rw.Regex), Substitution: rw.Replacement}
	case rw.URI != "":
		a.PrefixRewrite = rw.URI
	}
	if rw.Authority != "" {
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: rw.Authority}
	}
}

// mirror translates a mirror. Its default fraction is written as 100 of 100 (D8); a given
// percentage in millionths. Copies are not sampled anew.
func (rc *routeContext) mirror(m *model.Mirror) *routev3.RouteAction_RequestMirrorPolicy {
	fraction := &typev3.FractionalPercent{Numerator: 100}
	if m.Explicit {
		if m.Percent <= 0 {
			return nil
		}
		fraction = millionths(float64(m.Percent))
	}
	return &routev3.RouteAction_RequestMirrorPolicy{
		Cluster:         rc.cluster(m.Destination),
		RuntimeFraction: &corev3.RuntimeFractionalPercent{DefaultValue: fraction},
		TraceSampled:    boolean(false),
	}
}

// defaultRetryOn is what Istio retries on when nothing was said (D16).
const defaultRetryOn = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"

// retryPolicy translates retries; nil is the mesh's default. No policy means no retries.
func (rc *routeContext) retryPolicy(in *model.Retries) *routev3.RetryPolicy {
	if in == nil {
		in = rc.snap.Mesh.DefaultRetries
	}
	if in == nil {
		in = &model.Retries{Attempts: 2, DefaultRetryOn: true, IgnorePreviousHosts: true}
	}
	if in.Attempts <= 0 {
		return nil
	}
	out := &routev3.RetryPolicy{
		RetryOn: in.RetryOn, NumRetries: u32(uint32(in.Attempts)), RetriableStatusCodes: in.RetriableStatusCodes,
	}
	if in.DefaultRetryOn {
		out.RetryOn, out.RetriableStatusCodes = defaultRetryOn, []uint32{http.StatusServiceUnavailable}
	}
	if in.IgnorePreviousHosts {
		out.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: toAny(&previoushosts.PreviousHostsPredicate{})},
		}}
		out.HostSelectionRetryMaxAttempts = 5
	}
	if in.PerTryTimeout > 0 {
		out.PerTryTimeout = seconds(in.PerTryTimeout)
	}
	if in.BackOff > 0 {
		out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: seconds(in.BackOff)}
	}
	return out
}

// hashPolicy is what a destination with consistent hashing hashes.
func (rc *routeContext) hashPolicy(d model.Destination) []*routev3.RouteAction_HashPolicy {
	ns := ""
	if svc := rc.snap.Service(d.Host, rc.proxy.Namespace); svc != nil {
		ns = svc.Namespace
	}
	rule := rc.snap.Rule(d.Host, ns, rc.proxy.Namespace, rc.proxy.Labels)
	if rule == nil {
		return nil
	}
	port := d.Port
	if port == 0 {
		port = rc.port
	}
	var subset *model.Subset
	if sub, ok := rule.Subset(d.Subset); ok {
		subset = &sub
	}
	pol := rule.PolicyFor(subset, port)
	if pol == nil || pol.LoadBalancer == nil || pol.LoadBalancer.Hash == nil {
		return nil
	}
	h := pol.LoadBalancer.Hash
	out := &routev3.RouteAction_HashPolicy{}
	switch {
	case h.Header != "":
		out.PolicySpecifier = &routev3.RouteAction_HashPolicy_Header_{Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: h.Header}}
	case h.Cookie != nil:
		c := &routev3.RouteAction_HashPolicy_Cookie{Name: h.Cookie.Name, Path: h.Cookie.Path, Ttl: optional(h.Cookie.TTL)}
		for _, a := range h.Cookie.Attributes {
			c.Attributes = append(c.Attributes, &routev3.RouteAction_HashPolicy_CookieAttribute{Name: a.Name, Value: a.Value})
		}
		out.PolicySpecifier = &routev3.RouteAction_HashPolicy_Cookie_{Cookie: c}
	case h.SourceIP:
		out.PolicySpecifier = &routev3.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true}}
	case h.Query != "":
		out.PolicySpecifier = &routev3.RouteAction_HashPolicy_QueryParameter_{
			QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: h.Query}}
	default:
		return nil
	}
	return []*routev3.RouteAction_HashPolicy{out}
}

func redirect(in *model.Redirect) *routev3.Route_Redirect {
	out := &routev3.RedirectAction{HostRedirect: in.Authority, PortRedirect: in.Port}
	switch {
	case in.PrefixURI != "":
		out.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: in.PrefixURI}
	case in.URI != "":
		out.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: in.URI}
	}
	if in.Scheme != "" {
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: strings.ToLower(in.Scheme)}
	}
	switch in.Code {
	case 0, http.StatusMovedPermanently:
		out.ResponseCode = routev3.RedirectAction_MOVED_PERMANENTLY
	case http.StatusFound:
		out.ResponseCode = routev3.RedirectAction_FOUND
	case http.StatusSeeOther:
		out.ResponseCode = routev3.RedirectAction_SEE_OTHER
	case http.StatusTemporaryRedirect:
		out.ResponseCode = routev3.RedirectAction_TEMPORARY_REDIRECT
	case http.StatusPermanentRedirect:
		out.ResponseCode = routev3.RedirectAction_PERMANENT_REDIRECT
	}
	return &routev3.Route_Redirect{Redirect: out}
}

func directResponse(in *model.DirectResponse) *routev3.Route_DirectResponse {
	out := &routev3.DirectResponseAction{Status: in.Status}
	if in.Status < 200 || in.Status > 599 {
		out.Status = http.StatusInternalServerError // outside what a response can be
	}
	if in.Body != nil {
		out.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: in.Body}}
	}
	return &routev3.Route_DirectResponse{DirectResponse: out}
}

// notimeout is a duration that switches a timeout off.
const notimeout = time.Duration(0)
