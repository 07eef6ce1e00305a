package metadataexchange

import (
	"fmt"
	"log/slog"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/peermetadata"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Deps is what the filter needs of the process.
type Deps struct {
	// Workers is the number of workers.
	Workers int
	// ID and Metadata are our node's id and its encoded metadata (peermetadata.Encode).
	ID, Metadata string
	// Direction of the listener. Of a configuration with all four directions, a sidecar's, an
	// inbound listener does the downstream half only, so that no application is told about
	// its own proxy, and an outbound one the upstream half, so that none is asked.
	Direction xdsresource.Direction
	// Clusters tells which clusters are outside of the mesh; nil: by name only.
	Clusters *cluster.Manager
	Logger   *slog.Logger
}

// New returns the filter's factory for one filter chain.
func New(cfg any, d Deps) (httpfilter.Factory, error) {
	c, ok := cfg.(*Config)
	if !ok {
		return nil, fmt.Errorf("metadata exchange: configuration is a %T", cfg)
	}
	for _, name := range c.Ignored {
		d.Logger.Warn("istio.metadata_exchange: field has no effect", "field", name)
	}
	f := &factory{cfg: *c, deps: d, workers: make([]*filter, d.Workers)}
	if c.DownstreamDiscovery && c.UpstreamDiscovery || c.DownstreamPropagation && c.UpstreamPropagation {
		switch d.Direction {
		case xdsresource.DirectionInbound:
			f.cfg.UpstreamDiscovery, f.cfg.UpstreamPropagation = false, false
		case xdsresource.DirectionOutbound:
			f.cfg.DownstreamDiscovery, f.cfg.DownstreamPropagation = false, false
		}
	}
	return f, nil
}

type factory struct {
	cfg     Config
	deps    Deps
	workers []*filter // each written by its worker
}

// NewFilter returns the worker's one filter: it keeps nothing of a stream.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	i := l.ID()
	if f.workers[i] == nil {
		f.workers[i] = &filter{factory: f}
		if f.deps.Clusters != nil {
			f.workers[i].clusters = f.deps.Clusters.Local(i)
		}
	}
	return f.workers[i]
}

type filter struct {
	*factory
	cache    peermetadata.Cache
	clusters *cluster.LocalManager
}

// OnRequestHeaders learns the client, and tells the server about us.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	if f.cfg.DownstreamDiscovery {
		s.Info().DownstreamPeer = f.take(h)
	}
	if f.cfg.UpstreamPropagation && !f.skip(s) {
		h.SetString(header.XEnvoyPeerMetadataID, f.deps.ID)
		h.SetString(header.XEnvoyPeerMetadata, f.deps.Metadata)
	}
	return httpfilter.Continue
}

// OnResponseHeaders learns the server, and tells a client that told us about itself.
func (f *filter) OnResponseHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	if f.cfg.UpstreamDiscovery {
		if p := f.take(h); p != nil {
			s.Info().UpstreamPeer = p
		}
	}
	if f.cfg.DownstreamPropagation && s.Info().DownstreamPeer != nil {
		h.SetString(header.XEnvoyPeerMetadataID, f.deps.ID)
		h.SetString(header.XEnvoyPeerMetadata, f.deps.Metadata)
	}
	return httpfilter.Continue
}

// take reads the two headers and removes them.
func (f *filter) take(h *header.Map) *peermetadata.Peer {
	id, haveID := h.Get(header.XEnvoyPeerMetadataID)
	md, have := h.Get(header.XEnvoyPeerMetadata)
	var p *peermetadata.Peer
	if have && haveID {
		p = f.cache.Get(id, md)
	}
	if haveID {
		h.Remove(header.XEnvoyPeerMetadataID)
	}
	if have {
		h.Remove(header.XEnvoyPeerMetadata)
	}
	return p
}

// skip reports whether the request goes to a cluster that must not be told about us.
func (f *filter) skip(s httpfilter.Stream) bool {
	if !f.cfg.SkipExternal {
		return false
	}
	t := s.Target()
	if t == nil {
		return true
	}
	switch t.Cluster {
	case "PassthroughCluster", "BlackHoleCluster":
		return true
	}
	if f.clusters == nil || t.Cluster == "" {
		return false
	}
	c := f.clusters.Get(t.Cluster)
	if c == nil {
		return false
	}
	md := c.Config().Metadata["istio"]
	external, _ := md["external"].(bool)
	disabled, _ := md["disable_mx"].(bool)
	return external || disabled
}
