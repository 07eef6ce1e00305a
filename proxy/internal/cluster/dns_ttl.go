package cluster

import (
	"context"
	"net"
	"time"

	"github.com/miekg/dns"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// lifetimes is a Resolver that can tell how long a name's addresses are good, apart from
// resolving it. The system's resolver follows /etc/hosts, search lists and nsswitch but
// keeps the lifetime to itself; so the name server is asked for that alone, and only where
// respect_dns_ttl is set.
type lifetimes interface {
	// Lifetime returns the smallest TTL of the answer, 0 when it cannot be told.
	Lifetime(ctx context.Context, host string, family xdsresource.DNSFamily) time.Duration
}

// Lifetime asks the name servers of /etc/resolv.conf. A name that comes from elsewhere
// (/etc/hosts) has none.
func (systemResolver) Lifetime(ctx context.Context, host string, family xdsresource.DNSFamily) time.Duration {
	conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return 0
	}
	return lifetime(ctx, conf, host, family)
}

func lifetime(ctx context.Context, conf *dns.ClientConfig, host string, family xdsresource.DNSFamily) time.Duration {
	types := []uint16{dns.TypeA, dns.TypeAAAA}
	switch family {
	case xdsresource.DNSV4Only:
		types = types[:1]
	case xdsresource.DNSV6Only:
		types = types[1:]
	}
	for _, name := range conf.NameList(host) {
		var least uint32
		found := false
		for _, t := range types {
			for _, ttl := range ask(ctx, conf, name, t) {
				if !found || ttl < least {
					least, found = ttl, true
				}
			}
		}
		if found {
			return time.Duration(least) * time.Second
		}
	}
	return 0
}

// ask returns the TTLs of a name's answer, aliases included, from the first server that has one.
func ask(ctx context.Context, conf *dns.ClientConfig, name string, t uint16) (ttls []uint32) {
	m := &dns.Msg{}
	m.SetQuestion(dns.Fqdn(name), t)
	m.SetEdns0(1232, false)
	for _, server := range conf.Servers {
		c := &dns.Client{Timeout: time.Duration(conf.Timeout) * time.Second}
		r, _, err := c.ExchangeContext(ctx, m, net.JoinHostPort(server, conf.Port))
		if err == nil && r.Truncated {
			c.Net = "tcp"
			r, _, err = c.ExchangeContext(ctx, m, net.JoinHostPort(server, conf.Port))
		}
		if err != nil || r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError {
			continue // another server may do better
		}
		for _, rr := range r.Answer {
			ttls = append(ttls, rr.Header().Ttl)
		}
		return ttls
	}
	return nil
}
