package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushosts "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previouspriorities "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// forward translates a rule's destinations. authority is what the rule's header changes set it
// to, if anything. Nil: there is nowhere to go and nothing to answer.
func (rc *routeContext) forward(rule *model.HTTPRoute, r *routev3.Route, authority string) *routev3.Route_Route {
	if len(rule.Destinations) == 0 {
		return nil
	}
	a := &routev3.RouteAction{Timeout: seconds(rule.Timeout)}
	a.MaxGrpcTimeout = seconds(rule.Timeout)
	if rw := rule.Rewrite; rw != nil {
		applyRewrite(a, rw)
		authority = cmp.Or(rw.Authority, authority)
	}
	sticky := false
	if len(rule.Destinations) == 1 {
		d := &rule.Destinations[0]
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: rc.cluster(d.Destination)}
		// The route's authority counts before the destination's, so that it makes no
		// difference how many destinations there are.
		authority = cmp.Or(authority, setHeaders(r, d.Headers))
		a.HashPolicy = rc.hashPolicy(d.Destination)
		sticky = a.HashPolicy != nil
	} else {
		w := rc.weighted(rule.Destinations, a)
		if w == nil {
			return nil
		}
		a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
	}
	if authority != "" {
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: authority}
	}
	a.AppendXForwardedHost = rc.snap.HeadersOf(rc.proxy).GetXForwardedHost().GetEnabled().GetValue()
	a.RetryPolicy = rc.retryPolicy(rule.Retries, sticky)
	for i := range rule.Mirrors {
		if m := rc.mirror(&rule.Mirrors[i]); m != nil {
			a.RequestMirrorPolicies = append(a.RequestMirrorPolicies, m)
		}
	}
	return &routev3.Route_Route{Route: a}
}

// weighted shares requests among destinations; nil when nobody has a share.
func (rc *routeContext) weighted(list []model.HTTPDestination, a *routev3.RouteAction) *routev3.WeightedCluster {
	w := &routev3.WeightedCluster{}
	total := uint32(0)
	for i := range list {
		d := &list[i]
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
		a.HashPolicy = append(a.HashPolicy, rc.hashPolicy(d.Destination)...)
	}
	if total == 0 {
		return nil // validation refuses it
	}
	w.TotalWeight = u32(total)
	return w
}

// cluster names the cluster of a destination. Without a port it is the service's only one,
// else the one that the request came in on. An ExternalName service is the service that it stands
// for. A host that is not known keeps its name: Envoy
// answers 503 with NC, which tells more than a missing route.
func (rc *routeContext) cluster(d model.Destination) string {
	port, host := d.Port, d.Host
	svc := rc.snap.ServiceFor(rc.proxy, host)
	if svc != nil {
		if concrete := rc.snap.Concrete(svc, rc.proxy.Namespace); concrete != nil {
			host = concrete.Host
		}
	}
	switch {
	case port != 0:
	case svc != nil && len(svc.Ports) == 1:
		port = svc.Ports[0].Number
	default:
		port = rc.port
	}
	return ClusterName(port, d.Subset, host)
}

func applyRewrite(a *routev3.RouteAction, rw *model.Rewrite) {
	switch {
	case rw.Regex != "":
		a.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: regex(rw.Regex), Substitution: rw.Replacement}
	case rw.URI != "":
		a.PrefixRewrite = rw.URI
	}
}

// mirror translates a mirror. A whole number, such as the default, is written as it is (D8); a
// percentage in millionths. Copies are not sampled anew.
func (rc *routeContext) mirror(m *model.Mirror) *routev3.RouteAction_RequestMirrorPolicy {
	if m.Percent <= 0 {
		return nil
	}
	fraction := &typev3.FractionalPercent{Numerator: uint32(m.Percent)}
	if m.Explicit {
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

// retryPolicy translates retries; nil is the mesh's default. No policy means no retries. Where
// requests stick to a host they are tried there again, unless told otherwise.
func (rc *routeContext) retryPolicy(in *model.Retries, sticky bool) *routev3.RetryPolicy {
	if in == nil {
		in = rc.snap.Mesh.DefaultRetries
	}
	if in == nil {
		in = &model.Retries{Attempts: 2, DefaultRetryOn: true}
	}
	if in.Attempts <= 0 {
		return nil
	}
	out := &routev3.RetryPolicy{
		RetryOn: in.RetryOn, NumRetries: u32(uint32(in.Attempts)), RetriableStatusCodes: in.RetriableStatusCodes,
		HostSelectionRetryMaxAttempts: 5,
	}
	if in.DefaultRetryOn {
		out.RetryOn, out.RetriableStatusCodes = defaultRetryOn, []uint32{http.StatusServiceUnavailable}
	}
	if in.IgnorePreviousHosts || !in.PreviousHostsGiven && !sticky {
		out.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: toAny(&previoushosts.PreviousHostsPredicate{})},
		}}
	}
	if in.RemoteLocalities {
		out.RetryPriority = &routev3.RetryPolicy_RetryPriority{
			Name:       "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{TypedConfig: toAny(&previouspriorities.PreviousPrioritiesConfig{UpdateFrequency: 2})},
		}
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
	if svc := rc.snap.ServiceFor(rc.proxy, d.Host); svc != nil {
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

func (rc *routeContext) redirect(in *model.Redirect) *routev3.Route_Redirect {
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
	scheme := cmp.Or(out.GetSchemeRedirect(), map[bool]string{true: "https", false: "http"}[rc.tls])
	if in.PortFromReq {
		out.PortRedirect = rc.port // requests to other ports have other routes
	}
	// A scheme's own port is not written.
	if scheme == "http" && out.PortRedirect == 80 || scheme == "https" && out.PortRedirect == 443 {
		out.PortRedirect = 0
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
	switch {
	case in.Text != "":
		out.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: in.Text}}
	case in.Bytes != nil:
		out.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: in.Bytes}}
	}
	return &routev3.Route_DirectResponse{DirectResponse: out}
}

// notimeout is a duration that switches a timeout off.
const notimeout = time.Duration(0)
