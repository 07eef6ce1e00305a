package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestTransportsEnd: a transport ends when no configuration has it any more, and only then, and once.
func TestTransportsEnd(t *testing.T) {
	m := newMesh(t, 1, nil)
	var made, ended []string
	m.cfg.NewTransport = func(c *xdsresource.UpstreamTransport) (any, error) {
		if c.TLS.SNI == "bad" {
			return nil, errors.New("no good")
		}
		made = append(made, c.TLS.SNI)
		return "tls:" + c.TLS.SNI, nil
	}
	m.cfg.EndTransport = func(x any) { ended = append(ended, strings.TrimPrefix(x.(string), "tls:")) }
	tls := func(sni string) *xdsresource.UpstreamTransport {
		return &xdsresource.UpstreamTransport{TLS: &xdsresource.UpstreamTLS{SNI: sni}}
	}
	for _, tt := range []struct {
		name        string
		own         string
		matches     []string
		fails       bool
		made, ended string
	}{
		{"new", "a", []string{"b"}, false, "a b", ""},
		{"the same", "a", []string{"b"}, false, "", ""},
		{"moved", "b", []string{"a"}, false, "", ""},
		{"one more", "b", []string{"a", "c"}, false, "c", ""},
		{"refused", "d", []string{"bad"}, true, "d", "d"},
		{"one less", "b", []string{"c"}, false, "", "a"},
		{"plain", "", nil, false, "", "b c"},
		{"back", "a", []string{"a"}, false, "a a", ""},
	} {
		made, ended = nil, nil
		c := static("app", "10.0.0.1:80")
		if tt.own != "" {
			c.Transport = tls(tt.own)
		}
		for _, sni := range tt.matches {
			c.TransportMatches = append(c.TransportMatches, xdsresource.TransportSocketMatch{Name: sni, Transport: tls(sni)})
		}
		_, err := m.Update(c)
		if (err != nil) != tt.fails {
			t.Fatalf("%s: %v", tt.name, err)
		}
		slices.Sort(ended)
		if got := strings.Join(made, " "); got != tt.made {
			t.Errorf("%s: made %q, want %q", tt.name, got, tt.made)
		}
		if got := strings.Join(ended, " "); got != tt.ended {
			t.Errorf("%s: ended %q, want %q", tt.name, got, tt.ended)
		}
	}
	made, ended = nil, nil
	m.Remove("app")
	m.Remove("app")
	if got := strings.Join(ended, " "); got != "a" && got != "a a" {
		t.Errorf("removed: ended %q", got)
	}
}

// TestTransportOfLocality: a locality's labels choose where the endpoint's own choose nothing.
func TestTransportOfLocality(t *testing.T) {
	labels := func(v string) xdsresource.Metadata {
		return xdsresource.Metadata{"envoy.transport_socket_match": {"kind": v}}
	}
	ts := transports{own: "own", matches: []transportMatch{
		{xdsresource.TransportSocketMatch{Name: "a", Match: map[string]string{"kind": "a"}}, "a"},
		{xdsresource.TransportSocketMatch{Name: "b", Match: map[string]string{"kind": "b"}}, "b"},
	}}
	for _, tt := range []struct {
		endpoint, locality xdsresource.Metadata
		want               any
	}{
		{nil, nil, "own"},
		{labels("a"), nil, "a"},
		{nil, labels("b"), "b"},
		{labels("b"), labels("a"), "b"},
		{labels("c"), labels("a"), "a"},
		{labels("c"), labels("c"), "own"},
	} {
		if _, _, got := ts.choose(&xdsresource.Endpoint{Metadata: tt.endpoint, LocalityMetadata: tt.locality}); got != tt.want {
			t.Errorf("%v in %v: %v, want %v", tt.endpoint, tt.locality, got, tt.want)
		}
	}
}
