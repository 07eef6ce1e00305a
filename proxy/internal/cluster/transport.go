package cluster

import (
	"fmt"
	"reflect"

	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// transports are what a cluster's hosts dial with: its own transport and those of
// transport_socket_matches.
type transports struct {
	cfg     *xdsresource.UpstreamTransport
	own     any
	matches []transportMatch
}

type transportMatch struct {
	xdsresource.TransportSocketMatch
	transport any
}

// update returns the transports of a new configuration. A transport whose configuration equals an old
// one keeps its object, so that hosts keep their connections when something else changes. After an error
// those that were made have ended.
func (t *transports) update(cfg *xdsresource.Cluster, make func(*xdsresource.UpstreamTransport) (any, error), end func(any)) (transports, error) {
	get := func(c *xdsresource.UpstreamTransport) (*xdsresource.UpstreamTransport, any, error) {
		if c == nil {
			return nil, nil, nil
		}
		if t.cfg != nil && reflect.DeepEqual(t.cfg, c) {
			return t.cfg, t.own, nil
		}
		for i := range t.matches {
			if m := &t.matches[i]; m.Transport != nil && reflect.DeepEqual(m.Transport, c) {
				return m.Transport, m.transport, nil
			}
		}
		x, err := make(c)
		return c, x, err
	}
	var out transports
	var err error
	if out.cfg, out.own, err = get(cfg.Transport); err != nil {
		return transports{}, fmt.Errorf("transport_socket: %w", err)
	}
	for _, m := range cfg.TransportMatches {
		var x any
		if m.Transport, x, err = get(m.Transport); err != nil {
			out.retire(t, end)
			return transports{}, fmt.Errorf("transport_socket_matches %q: %w", m.Name, err)
		}
		out.matches = append(out.matches, transportMatch{m, x})
	}
	return out, nil
}

// retire calls end with each transport that next has not.
func (t *transports) retire(next *transports, end func(any)) {
	kept := map[any]bool{nil: true, next.own: true}
	for i := range next.matches {
		kept[next.matches[i].transport] = true
	}
	leave := func(x any) {
		if !kept[x] {
			kept[x] = true // it ends once
			end(x)
		}
	}
	leave(t.own)
	for i := range t.matches {
		leave(t.matches[i].transport)
	}
}

// choose returns the transport of an endpoint: the first match whose labels its metadata
// "envoy.transport_socket_match" has, or else that of its locality, or else the cluster's own.
func (t *transports) choose(e *xdsresource.Endpoint) (*xdsresource.UpstreamTransport, string, any) {
	for _, md := range [...]xdsresource.Metadata{e.Metadata, e.LocalityMetadata} {
		for i := range t.matches {
			if m := &t.matches[i]; matchesAll(m.Match, md["envoy.transport_socket_match"]) {
				return m.Transport, m.Name, m.transport
			}
		}
	}
	return t.cfg, "", t.own
}

func matchesAll(want map[string]string, have map[string]any) bool {
	for k, v := range want {
		if s, ok := have[k].(string); !ok || s != v {
			return false
		}
	}
	return true
}

// secure reports whether some host speaks TLS.
func (t *transports) secure() bool {
	if t.cfg != nil && t.cfg.TLS != nil {
		return true
	}
	for i := range t.matches {
		if c := t.matches[i].Transport; c != nil && c.TLS != nil {
			return true
		}
	}
	return false
}

// proxied reports whether some host gets a PROXY protocol's header.
func (t *transports) proxied() bool {
	if t.cfg != nil && t.cfg.Proxy != nil {
		return true
	}
	for i := range t.matches {
		if c := t.matches[i].Transport; c != nil && c.Proxy != nil {
			return true
		}
	}
	return false
}

// TLS counts the handshakes of the cluster's connections.
func (l *Local) TLS() *transportsocket.Stats {
	if l.tls == nil {
		l.tls = transportsocket.NewClientStats(l.cluster.scope, l.shard)
	}
	return l.tls
}

// CountLostTLVs counts a PROXY protocol's header that had no room for all of its extensions.
func (l *Local) CountLostTLVs() { l.shard.Inc(l.version.lostTLVs) }
