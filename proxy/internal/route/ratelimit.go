package route

import (
	"net/netip"
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// RateLimits are compiled rate_limits: what a request is to a rate limiter.
type RateLimits []rateLimit

type rateLimit struct {
	stage   uint32
	actions []rateLimitAction
}

type rateLimitAction struct {
	*xdsresource.RateLimitAction
	header  header.Key
	headers []HeaderMatcher
}

// Descriptor describes a request: entries in the order of the actions.
type Descriptor []DescriptorEntry

// DescriptorEntry is one thing that is said.
type DescriptorEntry struct{ Key, Value string }

// CompileRateLimits compiles rate limits. Those with a disable_key stay: there is no runtime that
// could set it.
func CompileRateLimits(in []xdsresource.RateLimit) RateLimits {
	var out RateLimits
	for i := range in {
		rl := rateLimit{stage: in[i].Stage}
		for j := range in[i].Actions {
			a := &in[i].Actions[j]
			c := rateLimitAction{RateLimitAction: a}
			if a.Kind == xdsresource.RateLimitRequestHeader {
				c.header = header.KeyOf(a.Name)
			}
			for k := range a.Headers {
				c.headers = append(c.headers, NewHeaderMatcher(&a.Headers[k]))
			}
			rl.actions = append(rl.actions, c)
		}
		out = append(out, rl)
	}
	return out
}

// Described is what descriptors are made of.
type Described struct {
	Headers *header.Map
	Info    *streaminfo.Info
	Node    string // our own cluster's name
	Cluster string // the route's
}

// Describe appends the descriptors of a request at a stage. A rate limit of which an action has
// nothing to say makes none.
func (r RateLimits) Describe(dst []Descriptor, d *Described, stage uint32) []Descriptor {
	for i := range r {
		if r[i].stage != stage {
			continue
		}
		if one, ok := r[i].describe(d); ok && len(one) > 0 {
			dst = append(dst, one)
		}
	}
	return dst
}

func (r *rateLimit) describe(d *Described) (Descriptor, bool) {
	var out Descriptor
	for i := range r.actions {
		a := &r.actions[i]
		v, ok := a.describe(d)
		switch {
		case ok:
			out = append(out, DescriptorEntry{a.Key, v})
		case !a.SkipIfAbsent:
			return nil, false
		}
	}
	return out, true
}

// describe returns an action's value; false when the request has none.
func (a *rateLimitAction) describe(d *Described) (string, bool) {
	switch a.Kind {
	case xdsresource.RateLimitSourceCluster:
		return d.Node, true
	case xdsresource.RateLimitDestinationCluster:
		return d.Cluster, true
	case xdsresource.RateLimitRequestHeader:
		v, ok := d.Headers.GetKey(a.header)
		return string(v), ok
	case xdsresource.RateLimitQueryParameter:
		var p parts
		p.path, p.query = split(d.Headers.Value(header.Path))
		defer p.release()
		v, ok := decodedQueryValue(&p, a.Name)
		return string(v), ok
	case xdsresource.RateLimitRemoteAddress:
		ip := d.Info.RemoteAddr().Addr()
		return ip.String(), ip.IsValid()
	case xdsresource.RateLimitMaskedAddress:
		ip := d.Info.RemoteAddr().Addr().Unmap()
		bits := a.V6
		if ip.Is4() {
			bits = a.V4
		}
		p, err := ip.Prefix(bits)
		return maskText(p), err == nil
	case xdsresource.RateLimitGenericKey:
		return a.text()
	case xdsresource.RateLimitHeaderMatch:
		return a.matched(a.headersMatch(d))
	case xdsresource.RateLimitQueryMatch:
		return a.matched(a.queryMatches(d))
	case xdsresource.RateLimitMetadata:
		return a.metadata(d)
	}
	return "", false
}

func maskText(p netip.Prefix) string {
	return p.Addr().String() + "/" + strconv.Itoa(p.Bits())
}

func (a *rateLimitAction) matched(yes bool) (string, bool) {
	if yes != a.ExpectMatch {
		return "", false
	}
	return a.text()
}

// text is the configured value. It is taken as it stands: Envoy formats it only under a runtime
// guard that is off.
func (a *rateLimitAction) text() (string, bool) {
	v := a.Value
	if v == "" {
		v = a.Default
	}
	return v, v != ""
}

func (a *rateLimitAction) headersMatch(d *Described) bool {
	for i := range a.headers {
		if !a.headers[i].Match(d.Headers) {
			return false
		}
	}
	return true
}

func (a *rateLimitAction) queryMatches(d *Described) bool {
	var p parts
	p.path, p.query = split(d.Headers.Value(header.Path))
	defer p.release()
	for i := range a.Query {
		if v, ok := decodedQueryValue(&p, a.Query[i].Name); !matchQueryValue(&a.Query[i], v, ok) {
			return false
		}
	}
	return true
}

func (a *rateLimitAction) metadata(d *Described) (string, bool) {
	md := d.Info.Metadata
	if a.OfRoute {
		md = d.Info.RouteMetadata
	}
	var v any
	if m, ok := md[a.Metadata[0]]; ok {
		v = m
		for _, k := range a.Metadata[1:] {
			step, _ := v.(map[string]any)
			v = step[k]
		}
	}
	s, _ := v.(string)
	if s == "" {
		s = a.Default
	}
	return s, s != ""
}
