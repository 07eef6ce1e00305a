package bootstrap

import (
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Source is where a bootstrap comes from: texts, and what the command line says beside them.
type Source struct {
	// Base and Overlay are YAML or JSON; the overlay is merged over the base. One may be empty.
	Base, Overlay []byte
	// NodeID and NodeCluster replace those of the texts when they are not empty.
	NodeID, NodeCluster string
	// UserAgent and UserAgentVersion tell the control plane which proxy this is.
	UserAgent, UserAgentVersion string
}

// Read parses, merges and judges a bootstrap.
func Read(src Source, dec *xdsresource.Decoder) (*Bootstrap, error) {
	var m *bootstrapv3.Bootstrap
	for _, raw := range [][]byte{src.Base, src.Overlay} {
		if len(raw) == 0 {
			continue
		}
		part, err := Parse(raw)
		if err != nil {
			return nil, err
		}
		m = Merge(m, part)
	}
	if m == nil {
		m = &bootstrapv3.Bootstrap{}
	}
	if m.Node == nil {
		m.Node = &corev3.Node{}
	}
	if src.NodeID != "" {
		m.Node.Id = src.NodeID
	}
	if src.NodeCluster != "" {
		m.Node.Cluster = src.NodeCluster
	}
	m.Node.UserAgentName = src.UserAgent
	m.Node.UserAgentVersionType = &corev3.Node_UserAgentVersion{UserAgentVersion: src.UserAgentVersion}
	return Load(m, dec)
}
