package gatewayapi

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// ruleName is Istio's name of a rule: namespace, name and number.
func (r *route) ruleName(i int) string {
	return fmt.Sprintf("%s.%s.%d", r.object.Namespace, r.object.Name, i)
}

// answer is a rule that answers by itself.
func answer(status uint32) *networking.HTTPRoute {
	return &networking.HTTPRoute{DirectResponse: &networking.HTTPDirectResponse{Status: status}}
}

// httpRules converts the rules of an HTTPRoute: one of Istio's rules for each match, so that they can be sorted among those of other routes.
func (c *conversion) httpRules(r *route, spec *gatewayv1.HTTPRouteSpec) {
	rules := spec.Rules
	if len(rules) == 0 {
		rules = []gatewayv1.HTTPRouteRule{{}} // the API's default: every request, and nowhere to go
	}
	for i := range rules {
		rule := &rules[i]
		field := fmt.Sprintf("spec.rules[%d]", i)
		matches := rule.Matches
		if len(matches) == 0 {
			matches = []gatewayv1.HTTPRouteMatch{{}} // every request
		}
		var backends []backend
		for _, b := range rule.BackendRefs {
			backends = append(backends, backend{b.BackendRef, b.Filters})
		}
		for j := range matches {
			m := httpMatch(&matches[j])
			list := c.httpRule(r, rule, field, backends, prefixOf(&matches[j]), m)
			for _, out := range list {
				out.Name = r.ruleName(i)
				if len(out.Match) == 0 && !everything(m) {
					out.Match = []*networking.HTTPMatchRequest{m}
				}
				r.http = append(r.http, ranked(httpEntry{route: out, order: len(r.http)}, m))
			}
		}
	}
}

// httpRule converts a rule for one of its matches, whose path prefix is given without its last slash. It is mostly one rule of Istio's.
func (c *conversion) httpRule(r *route, rule *gatewayv1.HTTPRouteRule, field string, backends []backend, prefix string, m *networking.HTTPMatchRequest) []*networking.HTTPRoute {
	out := &networking.HTTPRoute{}
	f := &filters{c: c, r: r, out: out, prefix: prefix}
	for k := range rule.Filters {
		if err := f.add(&rule.Filters[k], fmt.Sprintf("%s.filters[%d]", field, k)); err != nil {
			// A request that a filter was to change must not go through unchanged.
			r.unsupported = first(r.unsupported, err)
			return []*networking.HTTPRoute{answer(500)}
		}
	}
	r.served = true
	if out.Redirect != nil {
		return f.redirects(m)
	}
	if err := c.httpBackends(r, out, backends, field); err != nil {
		r.unsupported = first(r.unsupported, err)
	}
	timeouts(out, rule)
	return []*networking.HTTPRoute{out}
}

func first(a, b *refError) *refError {
	if a != nil {
		return a
	}
	return b
}

func stringMatch(kind, v string) *networking.StringMatch {
	if kind == "RegularExpression" {
		return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: v}}
	}
	return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: v}}
}

// httpMatch converts a match. A prefix is one of whole path elements; it stands without its last slash, and the snapshot knows from where
// the rule comes. Of headers and parameters of one name the first counts.
func httpMatch(in *gatewayv1.HTTPRouteMatch) *networking.HTTPMatchRequest {
	out := &networking.HTTPMatchRequest{}
	if p := in.Path; p != nil {
		path := value(p.Value, "/")
		switch value(p.Type, gatewayv1.PathMatchPathPrefix) {
		case gatewayv1.PathMatchExact:
			out.Uri = stringMatch("Exact", path)
		case gatewayv1.PathMatchRegularExpression:
			out.Uri = stringMatch("RegularExpression", path)
		default:
			if path = strings.TrimSuffix(path, "/"); path != "" {
				out.Uri = &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: path}}
			}
		}
	}
	for _, h := range in.Headers {
		name := strings.ToLower(string(h.Name))
		if out.Headers[name] == nil {
			put(&out.Headers, name, stringMatch(string(value(h.Type, gatewayv1.HeaderMatchExact)), h.Value))
		}
	}
	for _, q := range in.QueryParams {
		if out.QueryParams[string(q.Name)] == nil {
			put(&out.QueryParams, string(q.Name), stringMatch(string(value(q.Type, gatewayv1.QueryParamMatchExact)), q.Value))
		}
	}
	if in.Method != nil {
		out.Method = stringMatch("Exact", string(*in.Method))
	}
	return out
}

func put[V any](m *map[string]V, key string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = v
}

// everything reports whether a match asks for nothing.
func everything(m *networking.HTTPMatchRequest) bool {
	return m.Uri == nil && m.Method == nil && len(m.Headers)+len(m.QueryParams) == 0
}

// prefixOf is the path prefix of a match without its last slash: "" for /.
func prefixOf(m *gatewayv1.HTTPRouteMatch) string {
	if m.Path == nil || value(m.Path.Type, gatewayv1.PathMatchPathPrefix) != gatewayv1.PathMatchPathPrefix {
		return ""
	}
	return strings.TrimSuffix(value(m.Path.Value, "/"), "/")
}

// backend is a destination of a rule with its own filters.
type backend struct {
	ref     gatewayv1.BackendRef
	filters []gatewayv1.HTTPRouteFilter
}

// httpBackends shares a rule's requests among its backends. What would go to one that does not exist is answered with 500, and so is everything
// when there is none.
func (c *conversion) httpBackends(r *route, out *networking.HTTPRoute, backends []backend, field string) (unsupported *refError) {
	total, lost := int32(0), int32(0)
	for i := range backends {
		b := &backends[i]
		weight := value(b.ref.Weight, 1)
		total += weight
		to, err := c.backend(r.object, &b.ref.BackendObjectReference)
		if err != nil {
			r.unresolved = first(r.unresolved, err)
			lost += weight
			continue
		}
		dest := &networking.HTTPRouteDestination{Destination: to, Weight: weight}
		headers := &networking.HTTPRoute{}
		f := &filters{c: c, r: r, out: headers, ofBackend: true}
		bad := false
		for k := range b.filters {
			if err := f.add(&b.filters[k], fmt.Sprintf("%s.backendRefs[%d].filters[%d]", field, i, k)); err != nil {
				unsupported, bad = first(unsupported, err), true
			}
		}
		if bad {
			lost += weight
			continue
		}
		dest.Headers = headers.Headers
		if weight > 0 {
			out.Route = append(out.Route, dest)
		}
	}
	switch {
	case total == 0 || lost == total:
		out.Route, out.DirectResponse = nil, &networking.HTTPDirectResponse{Status: 500}
		out.Rewrite, out.Mirrors = nil, nil
	case lost > 0:
		out.Fault = &networking.HTTPFaultInjection{Abort: &networking.HTTPFaultInjection_Abort{
			ErrorType:  &networking.HTTPFaultInjection_Abort_HttpStatus{HttpStatus: 500},
			Percentage: &networking.Percent{Value: 100 * float64(lost) / float64(total)},
		}}
	}
	return unsupported
}

// defaultAttempts is how often Istio tries again where nobody has said.
const defaultAttempts = 2

// timeouts converts timeouts and retries. Durations were checked when the object was taken in; 0 means none.
func timeouts(out *networking.HTTPRoute, rule *gatewayv1.HTTPRouteRule) {
	if out.DirectResponse != nil {
		return
	}
	parse := func(d *gatewayv1.Duration) *durationpb.Duration {
		if v, err := time.ParseDuration(string(value(d, "0s"))); err == nil && v > 0 {
			return durationpb.New(v)
		}
		return nil
	}
	var each *durationpb.Duration
	if t := rule.Timeouts; t != nil {
		out.Timeout, each = parse(t.Request), parse(t.BackendRequest)
	}
	if retry := rule.Retry; retry != nil {
		out.Retries = &networking.HTTPRetry{Attempts: int32(value(retry.Attempts, defaultAttempts)), Backoff: parse(retry.Backoff), PerTryTimeout: each}
		if len(retry.Codes) > 0 {
			// Connections that fail are tried again whatever the codes (GEP-1731).
			on := []string{"connect-failure", "refused-stream", "reset"}
			for _, code := range retry.Codes {
				on = append(on, fmt.Sprint(int(code)))
			}
			out.Retries.RetryOn = strings.Join(on, ",")
		}
		if out.Retries.Attempts == 0 && each != nil && out.Timeout == nil {
			out.Timeout = each // the one try is all
		}
	} else if each != nil {
		out.Retries = &networking.HTTPRetry{Attempts: defaultAttempts, PerTryTimeout: each}
	}
}
