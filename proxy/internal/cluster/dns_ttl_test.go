package cluster

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// nameServer serves fixed records on loopback and returns a configuration that asks it.
func nameServer(t *testing.T, records ...string) *dns.ClientConfig {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var rrs []dns.RR
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		rrs = append(rrs, rr)
	}
	srv := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		for _, rr := range rrs {
			h := rr.Header()
			if h.Name == q.Question[0].Name && (h.Rrtype == q.Question[0].Qtype || h.Rrtype == dns.TypeCNAME) {
				m.Answer = append(m.Answer, rr)
			}
		}
		if len(m.Answer) == 0 {
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.ActivateAndServe() }()
	t.Cleanup(func() { _ = pc.Close(); <-done })
	_, port, _ := net.SplitHostPort(pc.LocalAddr().String())
	return &dns.ClientConfig{Servers: []string{"127.0.0.1"}, Port: port, Timeout: 5, Attempts: 1, Ndots: 1, Search: []string{"svc.test"}}
}

func TestLifetime(t *testing.T) {
	conf := nameServer(t, "web.test. 30 IN A 10.0.0.1", "web.test. 20 IN A 10.0.0.2", "web.test. 10 IN AAAA ::1", "short.svc.test. 7 IN A 10.0.0.3", "alias.test. 3 IN CNAME web.test.")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, tt := range []struct {
		host   string
		family xdsresource.DNSFamily
		want   time.Duration
	}{
		{"web.test", xdsresource.DNSV4Only, 20 * time.Second},
		{"web.test", xdsresource.DNSV6Only, 10 * time.Second},
		{"web.test", xdsresource.DNSAuto, 10 * time.Second},
		{"short", xdsresource.DNSV4Only, 7 * time.Second},
		{"alias.test", xdsresource.DNSV4Only, 3 * time.Second},
		{"none.test", xdsresource.DNSAuto, 0},
	} {
		if got := lifetime(ctx, conf, tt.host, tt.family); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.host, got, tt.want)
		}
	}
}

func TestSystemResolver(t *testing.T) {
	as, _, err := SystemResolver().Resolve(t.Context(), "localhost", xdsresource.DNSV4Only)
	if err != nil {
		t.Skipf("localhost does not resolve here (%v); add it to /etc/hosts", err)
	}
	if len(as) == 0 || !as[0].Is4() || !as[0].IsLoopback() {
		t.Errorf("localhost is %v", as)
	}
}
