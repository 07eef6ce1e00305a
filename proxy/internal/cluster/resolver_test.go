package cluster

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestOwnResolver(t *testing.T) {
	good := serveNames(t, "udp", dns.RcodeNameError, "web.test. 30 IN A 10.0.0.1", "web.test. 20 IN A 10.0.0.2", "web.test. 9 IN AAAA fd00::1",
		"four.test. 7 IN A 10.0.0.4", "short.svc.test. 5 IN A 10.0.0.5")
	tcp := serveNames(t, "tcp", dns.RcodeNameError, "web.test. 30 IN A 10.1.0.1")
	failing := serveNames(t, "udp", dns.RcodeServerFailure)
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("search svc.test\noptions ndots:1 timeout:1 attempts:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	withServer := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(withServer, []byte("nameserver 127.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	servers := func(s ...netip.AddrPort) xdsresource.DNSResolver { return xdsresource.DNSResolver{Servers: s} }
	with := func(o xdsresource.DNSResolver, f func(*xdsresource.DNSResolver)) xdsresource.DNSResolver {
		f(&o)
		return o
	}
	for _, tc := range []struct {
		name   string
		o      xdsresource.DNSResolver
		host   string
		family xdsresource.DNSFamily
		want   string // addresses, or what the error says
		ttl    time.Duration
	}{
		{"v4", servers(good), "web.test", xdsresource.DNSV4Only, "10.0.0.1 10.0.0.2", 20 * time.Second},
		{"v6", servers(good), "web.test", xdsresource.DNSV6Only, "fd00::1", 9 * time.Second},
		{"auto", servers(good), "web.test", xdsresource.DNSAuto, "fd00::1", 9 * time.Second},
		{"auto, only v4", servers(good), "four.test", xdsresource.DNSAuto, "10.0.0.4", 7 * time.Second},
		{"v4 preferred", servers(good), "web.test", xdsresource.DNSV4Preferred, "10.0.0.1 10.0.0.2", 20 * time.Second},
		{"all", servers(good), "web.test", xdsresource.DNSAll, "10.0.0.1 10.0.0.2 fd00::1", 9 * time.Second},
		{"a name without such an address", servers(good), "four.test", xdsresource.DNSV6Only, "", 0},
		{"no such name", servers(good), "nobody.test", xdsresource.DNSV4Only, "nobody.test: no such host", 0},
		{"search domain", servers(good), "short", xdsresource.DNSV4Only, "10.0.0.5", 5 * time.Second},
		{"no search domain", with(servers(good), func(o *xdsresource.DNSResolver) { o.NoSearch = true }), "short", xdsresource.DNSV4Only, "no such host", 0},
		{"the next server", servers(failing, good), "four.test", xdsresource.DNSV4Only, "10.0.0.4", 7 * time.Second},
		{"every server fails", servers(failing), "four.test", xdsresource.DNSV4Only, "answers SERVFAIL", 0},
		{"over TCP", with(servers(tcp), func(o *xdsresource.DNSResolver) { o.TCP = true }), "web.test", xdsresource.DNSV4Only, "10.1.0.1", 30 * time.Second},
		{"over TCP, to a server of UDP", with(servers(good), func(o *xdsresource.DNSResolver) { o.TCP = true }), "web.test", xdsresource.DNSV4Only, "refused", 0},
		{"as a fallback", with(servers(good), func(o *xdsresource.DNSResolver) { o.Fallback = true }), "four.test", xdsresource.DNSV4Only, "10.0.0.4", 7 * time.Second},
		{"files first", servers(failing), "localhost", xdsresource.DNSV4Only, "127.0.0.1", 0},
	} {
		r := NewResolver(&tc.o).(*ownResolver)
		r.resolvConf = conf
		as, ttl, err := r.Resolve(t.Context(), tc.host, tc.family)
		got := strings.Trim(fmt.Sprint(as), "[]")
		if err != nil {
			got = err.Error()
		}
		if ttl != tc.ttl || err == nil && got != tc.want || err != nil && !strings.Contains(got, tc.want) || err != nil && tc.want == "" {
			t.Errorf("%s: %s, %v; want %s, %v", tc.name, got, ttl, tc.want, tc.ttl)
		}
	}
	r := NewResolver(&xdsresource.DNSResolver{Servers: []netip.AddrPort{good}, Fallback: true}).(*ownResolver)
	r.resolvConf = withServer
	if q, err := r.questions("x"); err != nil || len(q.servers) != 1 || q.servers[0] != "127.0.0.1:53" {
		t.Errorf("servers that are a fallback are asked, though the system has its own: %v %v", q, err)
	}
	if _, own := NewResolver(&xdsresource.DNSResolver{}).(*ownResolver); own {
		t.Error("nothing is asked for, but it is not the system's resolver")
	}
}
