package xdsresource

import (
	"fmt"
	"math"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// vhds reads where further virtual hosts of a route configuration come from. As in Envoy it is a place
// that can be asked by name and can take a single one away: an incremental stream.
func (p *parser) vhds(m *routev3.RouteConfiguration) (src *ConfigSource, fetch time.Duration) {
	if m.GetVhds() == nil {
		return nil, 0
	}
	const path = "vhds.config_source"
	cs := m.GetVhds().GetConfigSource()
	switch {
	case cs.GetAds() != nil, cs.GetSelf() != nil:
	case cs.GetApiConfigSource() != nil:
		if t := cs.GetApiConfigSource().GetApiType(); t != corev3.ApiConfigSource_DELTA_GRPC {
			p.bad(path+".api_config_source.api_type", "%v is not supported here: virtual hosts come by DELTA_GRPC, or by ads that is incremental", t)
			return nil, 0
		}
	default:
		p.bad(path, "ads or api_config_source is required")
		return nil, 0
	}
	s, fetch := p.source(path, cs)
	return &s, fetch
}

// noVHDS refuses vhds where a route configuration does not come from RDS.
func (p *parser) noVHDS(path string, m *routev3.RouteConfiguration) {
	if m.GetVhds() != nil {
		p.bad(join(path, "vhds"), "works in route configurations that come from RDS only")
	}
}

// VirtualHost validates a virtual host that comes apart from its route configuration. What it inherits
// of that is not in it. The error is an *Error with every problem.
func (d *Decoder) VirtualHost(m *routev3.VirtualHost) (*VirtualHost, error) {
	p := &parser{dec: d}
	p.check("", m)
	vh := p.virtualHost("", m, math.MaxInt) // of the body's length the route configuration decides
	if err := p.finish("virtual host", m.GetName()); err != nil {
		return nil, err
	}
	return vh, nil
}

// SplitHostName takes the name of a virtual host of VHDS apart: that of its route configuration, which
// may have slashes, and the rest, mostly the host that it was asked for by.
func SplitHostName(name string) (routes, host string, err error) {
	i := strings.LastIndexByte(name, '/')
	if i <= 0 || i == len(name)-1 {
		return "", "", fmt.Errorf("virtual host %q is not named <route configuration>/<host>", name)
	}
	return name[:i], name[i+1:], nil
}
