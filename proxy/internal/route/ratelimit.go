package route

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// RateLimits are compiled rate_limits: what a request is to a rate limiter.
type RateLimits []rateLimit

type rateLimit struct {
	*xdsresource.RateLimit
	actions []rateLimitAction
	hits    *format.Formatter // nil: Hits has a number, or there is none
}

type rateLimitAction struct {
	*xdsresource.RateLimitAction
	header  header.Key
	headers []HeaderMatcher
	value   *format.Formatter // of RemoteAddressMatch
}

// Descriptor describes a request: entries in the order of the actions.
type Descriptor struct {
	Entries []DescriptorEntry
	Limit   *RateLimitValue // instead of the service's own; nil: none
	// Hits is how many hits the request is, where HasHits is set; NegativeHits: they are given back.
	Hits                  uint64
	HasHits, NegativeHits bool
	Headers               xdsresource.RateLimitHeaders
}

// RateLimitValue is so many requests in a unit of time, a number of type.v3.RateLimitUnit.
type RateLimitValue struct {
	Requests uint32
	Unit     int32
}

// DescriptorEntry is one thing that is said.
type DescriptorEntry struct{ Key, Value string }

// ReadRateLimits compiles a filter's own rate limits; what is wrong with them is the reader's.
func ReadRateLimits(r *xdsresource.FilterReader, path string, in []xdsresource.RateLimit) RateLimits {
	out, err := CompileRateLimits(in)
	if err != nil {
		r.Bad(path, "%v", err)
	}
	return out
}

// CompileRateLimits compiles rate limits.
func CompileRateLimits(in []xdsresource.RateLimit) (RateLimits, error) {
	var out RateLimits
	for i := range in {
		rl := rateLimit{RateLimit: &in[i]}
		if h := rl.Hits; h != nil && h.Format != "" {
			f, err := format.Compile(h.Format)
			if err != nil {
				return nil, fmt.Errorf("[%d].hits_addend.format: %w", i, err)
			}
			if !f.Single() {
				return nil, fmt.Errorf("[%d].hits_addend.format: %q is not one operator", i, h.Format)
			}
			rl.hits = f
		}
		for j := range in[i].Actions {
			a, err := compileRateLimitAction(&in[i].Actions[j])
			if err != nil {
				return nil, fmt.Errorf("[%d].actions[%d]: %w", i, j, err)
			}
			rl.actions = append(rl.actions, a)
		}
		out = append(out, rl)
	}
	return out, nil
}

func compileRateLimitAction(a *xdsresource.RateLimitAction) (c rateLimitAction, err error) {
	c.RateLimitAction = a
	switch a.Kind {
	case xdsresource.RateLimitRequestHeader:
		c.header = header.KeyOf(a.Name)
	case xdsresource.RateLimitAddressMatch:
		if c.value, err = format.Compile(a.Value); err != nil {
			return c, fmt.Errorf("descriptor_value: %w", err)
		}
	}
	for k := range a.Headers {
		c.headers = append(c.headers, NewHeaderMatcher(&a.Headers[k]))
	}
	return c, nil
}

// Described is what descriptors are made of.
type Described struct {
	Headers            *header.Map
	Response, Trailers *header.Map // nil while there are none
	Info               *streaminfo.Info
	Node               string // our own cluster's name
	Cluster            string // the route's
	Done               bool   // the stream is over: the limits for its end are asked for
	Local              bool   // for a local limiter: a route's limits with a disable_key are not for it, as in Envoy
}

func (d *Described) context() format.Context {
	return format.Context{Request: d.Headers, Response: d.Response, Trailers: d.Trailers, Info: d.Info}
}

// Describe appends the descriptors of a request at a stage. A rate limit of which an action has
// nothing to say makes none.
func (r RateLimits) Describe(dst []Descriptor, d *Described, stage uint32) []Descriptor {
	for i := range r {
		if r[i].Stage != stage || r[i].Done != d.Done || r[i].DisableKey != "" && d.Local {
			continue
		}
		if n := r[i].Enabled.Uint(100); n < 100 && rand.Uint64N(100) >= n {
			continue
		}
		if one, ok := r[i].describe(d); ok && len(one.Entries) > 0 {
			dst = append(dst, one)
		}
	}
	return dst
}

func (r *rateLimit) describe(d *Described) (Descriptor, bool) {
	out := Descriptor{Headers: r.Headers, Limit: r.limit(d)}
	for i := range r.actions {
		a := &r.actions[i]
		v, ok := a.describe(d)
		switch {
		case ok:
			out.Entries = append(out.Entries, DescriptorEntry{a.Key, v})
		case !a.SkipIfAbsent:
			return Descriptor{}, false
		}
	}
	if r.Hits == nil {
		return out, true
	}
	out.HasHits, out.NegativeHits, out.Hits = true, r.Hits.Negative, r.Hits.Number
	if r.hits != nil {
		ctx := d.context()
		n, err := strconv.ParseUint(string(r.hits.AppendOrEmpty(nil, &ctx)), 10, 64)
		if err != nil || n > xdsresource.MaxRateLimitHits {
			return Descriptor{}, false
		}
		out.Hits = n
	}
	return out, true
}

// limit is the limit that overrides the service's; nil when there is none.
func (r *rateLimit) limit(d *Described) *RateLimitValue {
	o := r.Limit
	if o == nil {
		return nil
	}
	if o.Metadata == nil {
		return &RateLimitValue{o.Requests, o.Unit}
	}
	m, _ := lookUp(d.Info.Metadata, o.Metadata).(map[string]any)
	requests, isNumber := m["requests_per_unit"].(float64)
	name, _ := m["unit"].(string)
	unit, known := xdsresource.RateLimitUnit(name)
	if !isNumber || !known || !(requests >= 0 && requests <= math.MaxUint32) {
		return nil
	}
	return &RateLimitValue{uint32(requests), unit}
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
	case xdsresource.RateLimitAddressMatch:
		return a.address(d)
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
	s, _ := lookUp(md, a.Metadata).(string)
	if s == "" {
		s = a.Default
	}
	return s, s != ""
}

// lookUp follows a path, the first step of which is a filter's name; nil when it leads nowhere.
func lookUp(md map[string]map[string]any, path []string) any {
	m, ok := md[path[0]]
	if !ok {
		return nil
	}
	v := any(m)
	for _, k := range path[1:] {
		step, _ := v.(map[string]any)
		v = step[k]
	}
	return v
}

// address is the value where the client's address is in the ranges. Unlike those of other actions it
// is a format in any case.
func (a *rateLimitAction) address(d *Described) (string, bool) {
	ip := d.Info.RemoteAddr().Addr().Unmap()
	within := slices.ContainsFunc(a.Ranges, func(p netip.Prefix) bool { return p.Contains(ip) })
	if !ip.IsValid() || within == a.Outside {
		return "", false
	}
	ctx := d.context()
	v := string(a.value.AppendOrEmpty(nil, &ctx))
	if v == "" {
		v = a.Default
	}
	return v, v != ""
}
