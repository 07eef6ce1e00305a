// Package filterstate holds Envoy's filter state: named objects by which one filter tells another
// something about a connection or a stream, such as the cluster that a TCP proxy is to use.
//
// It knows no object but plain text; packages with objects of their own define them. A Set belongs
// to one event loop. Any package of the proxy may import it; it imports none of them.
package filterstate

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
)

// Object is a value of the filter state. String is its serialised form, which matchers and format
// operators read.
type Object interface {
	String() string
}

// Text is an object that is nothing but text.
type Text string

// String implements Object.
func (t Text) String() string { return string(t) }

// HashableText is text that a hash policy may take (envoy.hashable_string).
type HashableText string

// String implements Object.
func (t HashableText) String() string { return string(t) }

// IP is an address without a port.
type IP netip.Addr

// String implements Object; Envoy writes a port in any case.
func (a IP) String() string { return netip.AddrPortFrom(netip.Addr(a), 0).String() }

// Names are the names of servers or protocols, in order, joined by commas.
type Names string

// NamesOf reads a list; what is empty is no name.
func NamesOf(text string) Names {
	var b strings.Builder
	for n := range strings.SplitSeq(text, ",") {
		if n = strings.TrimSpace(n); n == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(n)
	}
	return Names(b.String())
}

// String implements Object.
func (n Names) String() string { return string(n) }

// Fields is an object of named values.
type Fields map[string]string

// String implements Object: JSON, keys in order.
func (f Fields) String() string {
	b, _ := json.Marshal(map[string]string(f)) // strings always can be
	return string(b)
}

// Field returns a field's text; ok is false when there is no such field.
func (f Fields) Field(name string) (text string, ok bool) {
	text, ok = f[name]
	return text, ok
}

// String is an object's text, "" for none.
func String(o Object) string {
	if o == nil {
		return ""
	}
	return o.String()
}

// Port is the port that an object's text names; 0: it is none, or there is no object.
func Port(o Object) uint16 {
	n, err := strconv.ParseUint(String(o), 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

// Names of objects that this proxy reads.
const (
	TCPProxyCluster  = "envoy.tcp_proxy.cluster"
	TCPIdleTimeoutMs = "envoy.tcp_proxy.per_connection_idle_timeout_ms"
	RateLimitHits    = "envoy.ratelimit.hits_addend"

	// ProxyProtocolTLVs holds extensions of the PROXY protocol's header.
	ProxyProtocolTLVs = "envoy.network.proxy_protocol.tlv"

	// Which host and which port of a dynamic forward proxy cluster, and where its name has led to.
	UpstreamDynamicHost = "envoy.upstream.dynamic_host"
	UpstreamDynamicPort = "envoy.upstream.dynamic_port"
	UpstreamAddress     = "envoy.stream.upstream_address"

	// What TLS to a host is to do.
	UpstreamServerName      = "envoy.network.upstream_server_name"
	UpstreamSubjectAltNames = "envoy.network.upstream_subject_alt_names"
	ApplicationProtocols    = "envoy.network.application_protocols"
)

// Set is the state of one connection or stream. The zero Set is empty and ready.
type Set struct {
	objects map[string]Object
	fixed   map[string]bool // names of objects that stay as they are
}

// Get returns the object of a name, nil when there is none.
func (s *Set) Get(name string) Object {
	if s == nil {
		return nil
	}
	return s.objects[name]
}

// PutFixed sets the object of a name for good, if it has none: nothing changes it any more, as nothing may change
// an object of Envoy's that is read-only. An object that is not fixed stays as it is, too.
func (s *Set) PutFixed(name string, o Object) {
	if s.objects[name] != nil {
		return
	}
	s.Put(name, o)
	if s.fixed == nil {
		s.fixed = make(map[string]bool)
	}
	s.fixed[name] = true
}

// Put sets the object of a name, unless it is fixed.
func (s *Set) Put(name string, o Object) {
	if s.fixed[name] {
		return
	}
	if s.objects == nil {
		s.objects = make(map[string]Object)
	}
	s.objects[name] = o
}
