// Package istioalpn is the HTTP filter istio.alpn: it has TLS to a host offer other protocols than the cluster is configured with, by the
// version of HTTP that will be spoken there, so that Istio's proxies know each other's traffic.
//
// It only leaves the list in the stream's filter state, as Istio's filter does; the router asks the transport for it. Only server imports
// it.
package istioalpn

import (
	"strings"

	alpnpb "istio.io/api/envoy/config/filter/http/alpn/v2alpha1"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "istio.alpn"

// Config holds the protocols that are offered, joined by commas, by the version that is spoken to the host; "": as the cluster says.
type Config struct{ http1, http2 string }

// ParseConfig reads an alpn.v2alpha1.FilterConfig. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &alpnpb.FilterConfig{}
	r := d.ReadFilter(Name, a, m)
	c := &Config{}
	for _, o := range m.GetAlpnOverride() {
		list := strings.Join(o.GetAlpnOverride(), ",")
		switch o.GetUpstreamProtocol() {
		case alpnpb.FilterConfig_HTTP11:
			c.http1 = list
		case alpnpb.FilterConfig_HTTP2:
			c.http2 = list
		case alpnpb.FilterConfig_HTTP10: // never spoken to a host, by Envoy neither
		}
	}
	return c, r.Err()
}

// New returns the factory for a filter chain.
func New(cfg any, clusters *cluster.Manager) httpfilter.Factory {
	c := cfg.(*Config)
	f := &filter{clusters: clusters}
	for i, list := range []string{c.http1, c.http2} {
		if list != "" {
			f.offers[i] = filterstate.Names(list) // once, and not for each request
		}
	}
	return f
}

// filter has no state of a stream and is its own factory.
type filter struct {
	clusters *cluster.Manager
	offers   [2]filterstate.Object // of HTTP/1 and HTTP/2; nil: none
}

// NewFilter implements httpfilter.Factory.
func (f *filter) NewFilter(*eventloop.Loop) httpfilter.Filter { return f }

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	target := s.Target()
	if target == nil {
		return httpfilter.Continue
	}
	l := f.clusters.Local(s.Loop().ID()).Get(target.ClusterName(h))
	if l == nil {
		return httpfilter.Continue
	}
	info, i := s.Info(), 0
	switch l.Config().HTTP.Protocol {
	case xdsresource.UpstreamHTTP2, xdsresource.UpstreamAuto: // the latter wants HTTP/2, first of all
		i = 1
	case xdsresource.UpstreamAsDownstream:
		if info.Protocol == streaminfo.HTTP2 {
			i = 1
		}
	}
	if o := f.offers[i]; o != nil {
		info.State.Put(filterstate.ApplicationProtocols, o)
	}
	return httpfilter.Continue
}
