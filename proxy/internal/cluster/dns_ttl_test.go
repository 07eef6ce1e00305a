package cluster

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// nameServer serves fixed records on loopback and returns a configuration that asks it.
func nameServer(t *testing.T, records ...string) *dns.ClientConfig {
	t.Helper()
	addr := serveNames(t, "udp", dns.RcodeNameError, records...)
	return &dns.ClientConfig{Servers: []string{"127.0.0.1"}, Port: strconv.Itoa(int(addr.Port())), Timeout: 5, Attempts: 1, Ndots: 1, Search: []string{"svc.test"}}
}

// serveNames serves fixed records over UDP or TCP, and answers other names with a code.
func serveNames(t *testing.T, network string, otherwise int, records ...string) netip.AddrPort {
	t.Helper()
	srv := &dns.Server{}
	var addr net.Addr
	if network == "tcp" {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv.Listener, addr = ln, ln.Addr()
	} else {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv.PacketConn, addr = pc, pc.LocalAddr()
	}
	var rrs []dns.RR
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		rrs = append(rrs, rr)
	}
	srv.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Rcode = otherwise
		for _, rr := range rrs {
			h := rr.Header()
			if h.Name == q.Question[0].Name {
				m.Rcode = dns.RcodeSuccess
				if h.Rrtype == q.Question[0].Qtype || h.Rrtype == dns.TypeCNAME {
					m.Answer = append(m.Answer, rr)
				}
			}
		}
		_ = w.WriteMsg(m)
	})
	done, started := make(chan struct{}), make(chan struct{})
	srv.NotifyStartedFunc = func() { close(started) }
	go func() { defer close(done); _ = srv.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = srv.Shutdown(); <-done })
	return netip.MustParseAddrPort(addr.String())
}

func TestLifetime(t *testing.T) {
	conf := nameServer(t, "web.test. 30 IN A 10.0.0.1", "web.test. 20 IN A 10.0.0.2", "web.test. 10 IN AAAA ::1", "short.svc.test. 7 IN A 10.0.0.3", "alias.test. 3 IN CNAME web.test.")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
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
		t.Skipf("localhost does not resolve here (%v); this makes the test run: echo 127.0.0.1 localhost >>/etc/hosts", err)
	}
	if len(as) == 0 || !as[0].Is4() || !as[0].IsLoopback() {
		t.Errorf("localhost is %v", as)
	}
}
