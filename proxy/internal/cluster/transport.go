package cluster

import (
	"fmt"
	"reflect"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// transports are what a cluster's hosts dial with: its own TLS and those of
// transport_socket_matches.
type transports struct {
	tls     *xdsresource.UpstreamTLS
	own     any
	matches []transportMatch
}

type transportMatch struct {
	xdsresource.TransportSocketMatch
	transport any
}

// update returns the transports of a new configuration. A TLS configuration equal to an old
// one keeps its object, so that hosts keep their connections when something else changes.
func (t *transports) update(cfg *xdsresource.Cluster, make func(*xdsresource.UpstreamTLS) (any, error)) (transports, error) {
	get := func(tls *xdsresource.UpstreamTLS) (*xdsresource.UpstreamTLS, any, error) {
		if tls == nil {
			return nil, nil, nil
		}
		if t.tls != nil && reflect.DeepEqual(t.tls, tls) {
			return t.tls, t.own, nil
		}
		for i := range t.matches {
			if m := &t.matches[i]; m.TLS != nil && reflect.DeepEqual(m.TLS, tls) {
				return m.TLS, m.transport, nil
			}
		}
		x, err := make(tls)
		return tls, x, err
	}
	var out transports
	var err error
	if out.tls, out.own, err = get(cfg.TLS); err != nil {
		return out, fmt.Errorf("transport_socket: %w", err)
	}
	for _, m := range cfg.TLSMatches {
		var x any
		if m.TLS, x, err = get(m.TLS); err != nil {
			return out, fmt.Errorf("transport_socket_matches %q: %w", m.Name, err)
		}
		out.matches = append(out.matches, transportMatch{m, x})
	}
	return out, nil
}

// choose returns the transport of an endpoint: the first match whose labels its metadata
// "envoy.transport_socket_match" has, else the cluster's own.
func (t *transports) choose(e *xdsresource.Endpoint) (*xdsresource.UpstreamTLS, string, any) {
	md := e.Metadata["envoy.transport_socket_match"]
	for i := range t.matches {
		if m := &t.matches[i]; matchesAll(m.Match, md) {
			return m.TLS, m.Name, m.transport
		}
	}
	return t.tls, "", t.own
}

func matchesAll(want map[string]string, have map[string]any) bool {
	for k, v := range want {
		if s, ok := have[k].(string); !ok || s != v {
			return false
		}
	}
	return true
}
