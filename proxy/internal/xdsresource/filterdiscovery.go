package xdsresource

import (
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// FilterDiscovery is core.v3.ExtensionConfigSource of an HTTP or network filter: its configuration comes by ECDS, by the filter's name.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/extension
type FilterDiscovery struct {
	Source ConfigSource
	// FetchTimeout is how long a listener waits for the first configuration. 0: without end.
	FetchTimeout time.Duration
	Types        []string         // message names that the configuration may have; at least one
	Default      *FilterExtension // where none has come; nil: requests are answered with 500, connections are closed
	// AtOnce has a listener begin with Default (apply_default_config_without_warming).
	AtOnce bool
}

// FilterExtension is a validated core.v3.TypedExtensionConfig of a filter.
type FilterExtension struct {
	Name   string
	Type   string // message name, which says which filter it is
	Config any    // as in HTTPFilter or NetworkFilter
}

// FilterExtension validates the configuration of a filter that came by itself (ECDS). Whether it is one of HTTP or of connections its
// type says.
func (d *Decoder) FilterExtension(m *corev3.TypedExtensionConfig) (*FilterExtension, error) {
	p := &parser{dec: d}
	p.check("", m)
	out := p.filterExtension("typed_config", m.GetTypedConfig())
	out.Name = m.GetName()
	if err := p.finish("extension", m.GetName()); err != nil {
		return nil, err
	}
	return out, nil
}

func (p *parser) filterExtension(path string, a *anypb.Any) *FilterExtension {
	out := &FilterExtension{Type: TypeName(a)}
	parse := p.dec.discoverable(path, out.Type, p)
	if parse == nil {
		return out
	}
	plain, err := fromTypedStruct(a)
	if err != nil {
		p.bad(path, "%v", err)
		return out
	}
	if out.Config, err = parse(p.dec, plain); err != nil {
		p.badErr(path, err)
	}
	return out
}

// discoverable finds what reads the configuration of a filter that may come by discovery; nil: there is none, and the parser is told.
func (d *Decoder) discoverable(path, kind string, p *parser) func(*Decoder, *anypb.Any) (any, error) {
	if ft, ok := d.ext.HTTP[kind]; ok {
		if ft.Terminal {
			p.bad(path, "the router cannot come by discovery")
			return nil
		}
		return ft.Parse
	}
	ft, ok := d.ext.Network[kind]
	switch {
	case kind == hcmType, kind == tcpProxyType, ok && ft.Terminal:
		p.bad(path, "a network filter that ends a chain cannot come by discovery")
	case ok && ft.Fixed:
		p.bad(path, "%s cannot come by discovery: other filters of its chain are made by it", kind)
	case ok:
		return ft.Parse
	default:
		p.bad(path, "filters of type %s are not supported", kind)
	}
	return nil
}

// filterDiscovery reads the discovery of an HTTP filter, or of one of connections.
func (p *parser) filterDiscovery(path string, m *corev3.ExtensionConfigSource, network bool) *FilterDiscovery {
	d := &FilterDiscovery{AtOnce: m.GetApplyDefaultConfigWithoutWarming()}
	d.Source, d.FetchTimeout = p.source(join(path, "config_source"), m.GetConfigSource())
	for i, url := range m.GetTypeUrls() {
		kind := url[strings.LastIndexByte(url, '/')+1:]
		here := at(join(path, "type_urls"), i)
		if p.dec.discoverable(here, kind, p) != nil {
			if _, http := p.dec.ext.HTTP[kind]; http == network {
				p.bad(here, "%s is a filter of another kind", kind)
			}
		}
		d.Types = append(d.Types, kind)
	}
	if a := m.GetDefaultConfig(); a != nil {
		d.Default = p.filterExtension(join(path, "default_config"), a)
		if !slices.Contains(d.Types, d.Default.Type) {
			p.bad(join(path, "default_config"), "is of type %s, which is none of type_urls", d.Default.Type)
		}
	} else if d.AtOnce {
		p.bad(join(path, "apply_default_config_without_warming"), "needs a default_config")
	}
	return d
}
