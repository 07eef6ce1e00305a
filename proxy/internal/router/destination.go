package router

import (
	"net/netip"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// destination is where a request goes in a cluster of ORIGINAL_DST: what a filter says of the
// request or its connection, else what the client says where that is asked for, else where its
// connection was going.
func (r *router) destination(cfg *xdsresource.Cluster) netip.AddrPort {
	d := r.s.Downstream()
	if path := cfg.OriginalDstMetadata; path != nil {
		if a := r.local.Destination(r.s.Info().Metadata, path); a.IsValid() {
			return a
		}
		if d != nil {
			if a := r.local.Destination(d.Info().Metadata, path); a.IsValid() {
				return a
			}
		}
	}
	if name := cfg.OriginalDstHeader; name != "" {
		if v, ok := r.h.GetName(name); ok {
			if a := r.local.ParseDestination(string(v)); a.IsValid() {
				return a
			}
		}
	}
	if d == nil {
		return netip.AddrPort{}
	}
	return d.Info().OriginalDst
}
