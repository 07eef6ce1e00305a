package router

import (
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// candidates are the hosts that a request names for a cluster that goes by that, of all sources in order.
func candidates(o *xdsresource.OverrideHosts, h *header.Map, info *streaminfo.Info) []string {
	var out []string
	for i := range o.Sources {
		var list string
		if s := &o.Sources[i]; s.Header != "" {
			v, _ := h.GetName(s.Header)
			list = string(v)
		} else {
			list = metadataText(info, s.Metadata)
		}
		for address := range strings.SplitSeq(list, ",") {
			if address = strings.TrimSpace(address); address != "" {
				out = append(out, address)
			}
		}
	}
	return out
}

// metadataText is the text at a path of the dynamic metadata, "" for anything else.
func metadataText(info *streaminfo.Info, path []string) string {
	var v any = info.Metadata[path[0]]
	for _, key := range path[1:] {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	s, _ := v.(string)
	return s
}

// noteSelected leaves a host's address at a path of the dynamic metadata.
func noteSelected(path []string, address string, info *streaminfo.Info) {
	var v any = address
	for i := len(path) - 1; i > 1; i-- {
		v = map[string]any{path[i]: v}
	}
	info.SetMetadata(path[0], path[1], v)
}
