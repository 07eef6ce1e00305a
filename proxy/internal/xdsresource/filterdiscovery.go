package xdsresource

import (
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// FilterDiscovery is core.v3.ExtensionConfigSource of an HTTP filter: its configuration comes by ECDS, by the filter's name.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/extension
type FilterDiscovery struct {
	Source ConfigSource
	// FetchTimeout is how long a listener waits for the first configuration. 0: without end.
	FetchTimeout time.Duration
	Types        []string       // message names that the configuration may have; at least one
	Default      *HTTPExtension // where none has come; nil: requests are answered with 500
	// AtOnce has a listener begin with Default (apply_default_config_without_warming).
	AtOnce bool
}

// HTTPExtension is a validated core.v3.TypedExtensionConfig of an HTTP filter.
type HTTPExtension struct {
	Name   string
	Type   string // message name, which says which filter it is
	Config any    // as in HTTPFilter
}

// HTTPExtension validates the configuration of a filter that came by itself (ECDS).
func (d *Decoder) HTTPExtension(m *corev3.TypedExtensionConfig) (*HTTPExtension, error) {
	p := &parser{dec: d}
	p.check("", m)
	out := p.httpExtension("typed_config", m.GetTypedConfig())
	out.Name = m.GetName()
	if err := p.finish("extension", m.GetName()); err != nil {
		return nil, err
	}
	return out, nil
}

func (p *parser) httpExtension(path string, a *anypb.Any) *HTTPExtension {
	out := &HTTPExtension{Type: TypeName(a)}
	ft, ok := p.dec.discoverable(path, out.Type, p)
	if !ok {
		return out
	}
	plain, err := fromTypedStruct(a)
	if err != nil {
		p.bad(path, "%v", err)
		return out
	}
	if out.Config, err = ft.Parse(p.dec, plain); err != nil {
		p.badErr(path, err)
	}
	return out
}

// discoverable finds a filter that may come by discovery.
func (d *Decoder) discoverable(path, kind string, p *parser) (HTTPFilterType, bool) {
	ft, ok := d.ext.HTTP[kind]
	switch {
	case !ok:
		p.bad(path, "HTTP filters of type %s are not supported", kind)
	case ft.Terminal:
		p.bad(path, "the router cannot come by discovery")
	}
	return ft, ok && !ft.Terminal
}

func (p *parser) filterDiscovery(path string, m *corev3.ExtensionConfigSource) *FilterDiscovery {
	d := &FilterDiscovery{AtOnce: m.GetApplyDefaultConfigWithoutWarming()}
	d.Source, d.FetchTimeout = p.source(join(path, "config_source"), m.GetConfigSource())
	for i, url := range m.GetTypeUrls() {
		kind := url[strings.LastIndexByte(url, '/')+1:]
		p.dec.discoverable(at(join(path, "type_urls"), i), kind, p)
		d.Types = append(d.Types, kind)
	}
	if a := m.GetDefaultConfig(); a != nil {
		d.Default = p.httpExtension(join(path, "default_config"), a)
		if !slices.Contains(d.Types, d.Default.Type) {
			p.bad(join(path, "default_config"), "is of type %s, which is none of type_urls", d.Default.Type)
		}
	} else if d.AtOnce {
		p.bad(join(path, "apply_default_config_without_warming"), "needs a default_config")
	}
	return d
}
