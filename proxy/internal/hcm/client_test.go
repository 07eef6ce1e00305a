package hcm

import (
	"net/netip"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestUntrusted: the client is the first from the right whom no proxy of ours can be.
func TestUntrusted(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	for xff, want := range map[string]string{
		"":                                   "invalid IP",
		"198.51.100.1":                       "198.51.100.1",
		"192.0.2.1":                          "192.0.2.1",
		"192.0.2.5, 192.0.2.1":               "192.0.2.5",
		"198.51.100.1, 10.0.0.1,192.0.2.1":   "10.0.0.1",
		"198.51.100.1, 2001:db8::1":          "198.51.100.1",
		"198.51.100.1, ::ffff:192.0.2.7":     "198.51.100.1",
		"198.51.100.1, somebody, 192.0.2.1":  "invalid IP",
		"198.51.100.1, , 192.0.2.1":          "invalid IP",
		"198.51.100.1,fe80::1%eth0":          "invalid IP",
		"198.51.100.1,192.0.2.1:80":          "invalid IP",
		"somebody, 198.51.100.2 , 192.0.2.1": "198.51.100.2",
	} {
		if got := untrusted([]byte(xff), proxies).String(); got != want {
			t.Errorf("%q: %s, want %s", xff, got, want)
		}
	}
}

// TestConnectionJitter: a connection has one time for as long as it lasts, and others have other times within the jitter.
func TestConnectionJitter(t *testing.T) {
	seen := map[time.Duration]bool{}
	for random := range uint64(100) {
		d := jitter(time.Second, 0.5, random*0x9e3779b97f4a7c15)
		if d < 0 || d >= time.Second/2 {
			t.Fatalf("%v of half a second", d)
		}
		seen[d.Truncate(50*time.Millisecond)] = true
	}
	if len(seen) != 10 {
		t.Errorf("a hundred connections that follow each other end in %d of 10 parts of the jitter", len(seen))
	}
	if d := jitter(time.Second, 0, 1<<63); d != 0 {
		t.Errorf("%v without a jitter", d)
	}
}

// TestProxyStatusNames: who speaks, and that a quotation mark does not end the details.
func TestProxyStatusNames(t *testing.T) {
	for _, c := range []struct {
		cfg  xdsresource.ProxyStatus
		want string
	}{
		{xdsresource.ProxyStatus{}, `server; error=connection_refused; details="it \"failed\"; why; UF"`},
		{xdsresource.ProxyStatus{Name: "edge", NoTermination: true}, `edge; error=connection_refused; details="it \"failed\"; UF"`},
		{xdsresource.ProxyStatus{NodeID: true, NoFlags: true}, `node; error=connection_refused; details="it \"failed\"; why"`},
		{xdsresource.ProxyStatus{NoDetails: true}, `server; error=connection_refused`},
	} {
		cfg := &xdsresource.HTTPConnectionManager{ServerName: "server", ProxyStatus: &c.cfg}
		m := &Manager{cfg: cfg, proxyName: proxyName(cfg, &Deps{NodeID: "node"})}
		s := &stream{w: &worker{m: m}}
		s.info.Set(streaminfo.UpstreamConnectionFailure)
		s.info.Details, s.info.TerminationDetails = `it "failed"`, "why"
		var h header.Map
		s.proxyStatus(&h)
		if got, _ := h.GetKey(proxyStatusKey); string(got) != c.want {
			t.Errorf("%+v: %s, want %s", c.cfg, got, c.want)
		}
	}
}
