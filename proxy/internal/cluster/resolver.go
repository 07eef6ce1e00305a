package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// SystemResolver returns the resolver of Go's standard library.
func SystemResolver() Resolver { return systemResolver{} }

type systemResolver struct{}

func (systemResolver) Resolve(ctx context.Context, host string, family xdsresource.DNSFamily) ([]netip.Addr, time.Duration, error) {
	return byFamily(family, func(network string) ([]netip.Addr, time.Duration, error) {
		as, err := lookup(ctx, net.DefaultResolver, network, host)
		return as, 0, err
	})
}

func lookup(ctx context.Context, r *net.Resolver, network, host string) ([]netip.Addr, error) {
	as, err := r.LookupNetIP(ctx, network, host)
	for i := range as {
		as[i] = as[i].Unmap()
	}
	return as, err
}

// byFamily asks for "ip4" and "ip6" as a family wants.
func byFamily(family xdsresource.DNSFamily, ask func(network string) ([]netip.Addr, time.Duration, error)) ([]netip.Addr, time.Duration, error) {
	first, second := "ip6", "ip4" // AUTO: IPv6 if there is any, else IPv4
	switch family {
	case xdsresource.DNSV4Only:
		return ask("ip4")
	case xdsresource.DNSV6Only:
		return ask("ip6")
	case xdsresource.DNSV4Preferred, xdsresource.DNSAll:
		first, second = "ip4", "ip6"
	}
	as, ttl, err := ask(first)
	if family != xdsresource.DNSAll {
		if err == nil && len(as) > 0 {
			return as, ttl, nil
		}
		return ask(second)
	}
	more, moreTTL, err2 := ask(second)
	if err != nil && err2 != nil {
		return nil, 0, err
	}
	if ttl == 0 || moreTTL > 0 && moreTTL < ttl {
		ttl = moreTTL
	}
	return append(as, more...), ttl, nil
}

// NewResolver returns the resolver of a configuration; nil stands for the system's.
func NewResolver(o *xdsresource.DNSResolver) Resolver {
	if o == nil || len(o.Servers) == 0 && !o.TCP && !o.NoSearch && o.Timeout == 0 && o.Tries == 0 {
		return SystemResolver()
	}
	return AskingResolver(o)
}

// AskingResolver returns a resolver that asks the name servers of a configuration itself, or those of the system; nil: without options.
// So it can tell how long an answer is good, and what kind of answer there was.
func AskingResolver(o *xdsresource.DNSResolver) Resolver {
	if o == nil {
		o = &xdsresource.DNSResolver{}
	}
	return &ownResolver{o: *o, resolvConf: "/etc/resolv.conf", hosts: &net.Resolver{
		PreferGo: true,
		Dial:     func(context.Context, string, string) (net.Conn, error) { return nil, errFilesOnly },
	}}
}

var errFilesOnly = errors.New("no name server is asked")

// ownResolver asks name servers itself, in their order, where the system's way is not wanted:
// others, over TCP, or without search domains. Names of /etc/hosts come from there.
type ownResolver struct {
	o          xdsresource.DNSResolver
	resolvConf string
	hosts      *net.Resolver // knows files only
}

// Resolve implements Resolver.
func (r *ownResolver) Resolve(ctx context.Context, host string, family xdsresource.DNSFamily) ([]netip.Addr, time.Duration, error) {
	q, err := r.questions(host)
	if err != nil {
		return nil, 0, err
	}
	return byFamily(family, func(network string) ([]netip.Addr, time.Duration, error) {
		if as, err := lookup(ctx, r.hosts, network, host); err == nil {
			return as, 0, nil
		}
		return q.addresses(ctx, network)
	})
}

// questions is what a host is asked for by, and whom.
func (r *ownResolver) questions(host string) (*questions, error) {
	conf, err := dns.ClientConfigFromFile(r.resolvConf)
	if err != nil {
		if len(r.o.Servers) == 0 {
			return nil, fmt.Errorf("name servers: %w", err)
		}
		conf = &dns.ClientConfig{Ndots: 1, Timeout: 5, Attempts: 2}
	}
	q := asConfigured(conf, host)
	if len(r.o.Servers) > 0 && (!r.o.Fallback || len(conf.Servers) == 0) {
		q.servers = nil
		for _, s := range r.o.Servers {
			q.servers = append(q.servers, s.String())
		}
	}
	if r.o.NoSearch {
		q.names = []string{dns.Fqdn(host)}
	}
	if r.o.TCP {
		q.network = "tcp"
	}
	if r.o.Timeout > 0 {
		q.timeout = r.o.Timeout
	}
	if r.o.Tries > 0 {
		q.tries = r.o.Tries
	}
	return q, nil
}

// addresses of the first of the names that has any.
func (q *questions) addresses(ctx context.Context, network string) ([]netip.Addr, time.Duration, error) {
	kind := dns.TypeA
	if network == "ip6" {
		kind = dns.TypeAAAA
	}
	known := false // one of the names exists
	for _, name := range q.names {
		m, err := q.ask(ctx, name, kind)
		if err != nil {
			return nil, 0, err
		}
		known = known || m.Rcode == dns.RcodeSuccess
		if as, ttl := answer(m); len(as) > 0 {
			return as, ttl, nil
		}
	}
	if known {
		return nil, 0, nil
	}
	return nil, 0, &answerError{dns.RcodeNameError, q.host + ": no such host"}
}

// answer takes the addresses out of a message, and how long they are good: as long as the
// shortest record on the way to them.
func answer(m *dns.Msg) (as []netip.Addr, ttl time.Duration) {
	for _, rr := range m.Answer {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			as = append(as, a.Unmap())
		}
		if d := time.Duration(rr.Header().Ttl) * time.Second; ttl == 0 || d < ttl {
			ttl = d
		}
	}
	return as, ttl
}
