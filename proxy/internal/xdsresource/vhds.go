package xdsresource

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// vhds reads where virtual hosts are asked for. Envoy has them over the incremental protocol alone.
func (p *parser) vhds(path string, m *routev3.Vhds) *ConfigSource {
	path = join(path, "config_source")
	if m.GetConfigSource() == nil {
		p.bad(path, "is required")
		return nil
	}
	src := p.configSource(path, m.GetConfigSource())
	if src.Path != "" || src.Cluster != "" && !src.Delta {
		p.bad(path, "virtual hosts are asked for one by one; use ads, or api_config_source with DELTA_GRPC")
	}
	return &src
}

// inlineRoutes reads a route configuration that stands where it is used. It has all of its virtual hosts.
func (p *parser) inlineRoutes(path string, m *routev3.RouteConfiguration) *RouteConfig {
	rc := p.routeConfig(path, m)
	if rc.VHDS != nil {
		p.bad(join(path, "vhds"), "only a route configuration from rds can have virtual hosts of their own")
	}
	return rc
}

// LooseVirtualHost is a virtual host that came by itself (VHDS). It was validated, and is read again for the
// route configuration that it belongs to, which has defaults for it.
type LooseVirtualHost struct {
	Message *routev3.VirtualHost
	dec     *Decoder
}

func (d *Decoder) looseVirtualHost(m *routev3.VirtualHost) (*LooseVirtualHost, error) {
	v := &LooseVirtualHost{m, d}
	_, err := v.In(&RouteConfig{MaxDirectResponseBodySize: defaultDirectBody})
	return v, err
}

// In returns the virtual host as a part of a route configuration.
func (v *LooseVirtualHost) In(rc *RouteConfig) (*VirtualHost, error) {
	p := &parser{dec: v.dec}
	p.check("", v.Message)
	out := p.virtualHost("", v.Message, rc.mirrors, int(rc.MaxDirectResponseBodySize))
	if err := p.finish("virtual host", v.Message.GetName()); err != nil {
		return nil, err
	}
	return out, nil
}
