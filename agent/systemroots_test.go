package agent

import (
	"net/netip"
	"slices"
	"testing"
)

func TestSystemRoots(t *testing.T) {
	for _, tc := range []struct {
		name, variable string
		there          []string
		want           string
	}{
		{"the usual one", "", []string{"/etc/ssl/cert.pem", usualRoots}, ""},
		{"another system's", "", []string{"/etc/ssl/cert.pem", "/etc/pki/tls/certs/ca-bundle.crt"}, "/etc/pki/tls/certs/ca-bundle.crt"},
		{"none", "", nil, ""},
		{"one that is said", "/opt/roots.pem", []string{usualRoots}, "/opt/roots.pem"},
	} {
		if got := findSystemRoots(tc.variable, func(file string) bool { return slices.Contains(tc.there, file) }); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	cfg := Config{Type: Sidecar, Name: "x", Namespace: "shop", IP: netip.MustParseAddr("127.0.0.1"), SystemRoots: "/opt/roots.pem"}
	meta, err := nodeMetadata(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := meta.GetFields()[systemRoots].GetStringValue(); got != "/opt/roots.pem" {
		t.Errorf("the node says %q", got)
	}
	cfg.SystemRoots = ""
	if meta, err = nodeMetadata(cfg); err != nil || meta.GetFields()[systemRoots] != nil {
		t.Errorf("the node says %v, %v", meta.GetFields()[systemRoots], err)
	}
}
