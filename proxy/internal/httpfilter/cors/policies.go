package cors

import "github.com/lateen-mesh/lateen/proxy/internal/xdsresource"

// policies are those of the levels that a request's route has (weighted cluster, route, virtual host, table), the most
// specific one first. Each property is the first one's that has it.
type policies []*xdsresource.CORSPolicy

// allow reports whether a page of this origin may read answers.
func (ps policies) allow(origin string) bool {
	for _, p := range ps {
		if len(p.Origins) == 0 {
			continue
		}
		for i := range p.Origins {
			if m := &p.Origins[i]; m.Match("*") || m.Match(origin) {
				return true
			}
		}
		return false
	}
	return false
}

// forward reports whether preflight requests of other origins go on to the host, which is the default.
func (ps policies) forward() bool {
	for _, p := range ps {
		if v := p.ForwardNotMatchingPreflights; v != nil {
			return *v
		}
	}
	return true
}

func (ps policies) flag(of func(*xdsresource.CORSPolicy) *bool) bool {
	for _, p := range ps {
		if v := of(p); v != nil {
			return *v
		}
	}
	return false
}

func (ps policies) text(of func(*xdsresource.CORSPolicy) string) string {
	for _, p := range ps {
		if v := of(p); v != "" {
			return v
		}
	}
	return ""
}

func allowCredentials(p *xdsresource.CORSPolicy) *bool    { return p.AllowCredentials }
func allowPrivateNetwork(p *xdsresource.CORSPolicy) *bool { return p.AllowPrivateNetwork }
func allowMethods(p *xdsresource.CORSPolicy) string       { return p.AllowMethods }
func allowHeaders(p *xdsresource.CORSPolicy) string       { return p.AllowHeaders }
func exposeHeaders(p *xdsresource.CORSPolicy) string      { return p.ExposeHeaders }
func maxAge(p *xdsresource.CORSPolicy) string             { return p.MaxAge }
