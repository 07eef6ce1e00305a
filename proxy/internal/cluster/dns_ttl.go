package cluster

import (
	"context"
	"errors"
	"fmt"
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
	q := asConfigured(conf, host)
	for _, name := range q.names {
		var least uint32
		found := false
		for _, t := range types {
			m, err := q.ask(ctx, name, t)
			if err != nil {
				continue
			}
			for _, rr := range m.Answer {
				if ttl := rr.Header().Ttl; !found || ttl < least {
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

// questions are the names by which a host is asked for, and how.
type questions struct {
	host    string
	names   []string
	servers []string // "IP:PORT", in order
	network string   // "tcp", or "" for UDP
	timeout time.Duration
	tries   int
}

func asConfigured(conf *dns.ClientConfig, host string) *questions {
	q := &questions{host: host, names: conf.NameList(host), timeout: time.Duration(conf.Timeout) * time.Second, tries: conf.Attempts}
	for _, s := range conf.Servers {
		q.servers = append(q.servers, net.JoinHostPort(s, conf.Port))
	}
	return q
}

// answerError is an answer that has no addresses.
type answerError struct {
	rcode int
	text  string
}

func (e *answerError) Error() string { return e.text }

// Rcode is the answer's RCODE (RFC 1035, section 4.1.1).
func (e *answerError) Rcode() int { return e.rcode }

// ask returns the answer of the first server that has one, aliases included. An answer that is
// too long for UDP is asked for again over TCP.
func (q *questions) ask(ctx context.Context, name string, t uint16) (*dns.Msg, error) {
	m := &dns.Msg{}
	m.SetQuestion(dns.Fqdn(name), t)
	m.SetEdns0(1232, false)
	err := errors.New("no name server is known")
	for range max(q.tries, 1) {
		for _, server := range q.servers {
			c := &dns.Client{Net: q.network, Timeout: q.timeout}
			r, e := exchange(ctx, c, m, server)
			if e == nil && r.Truncated && q.network == "" {
				c.Net = "tcp"
				r, e = exchange(ctx, c, m, server)
			}
			switch {
			case e != nil:
				err = fmt.Errorf("name server %s: %w", server, e)
			case r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError: // another server may do better
				err = &answerError{r.Rcode, fmt.Sprintf("name server %s answers %s", server, dns.RcodeToString[r.Rcode])}
			default:
				return r, nil
			}
			if ctx.Err() != nil {
				return nil, err
			}
		}
	}
	return nil, err
}

// exchange asks one server. The library looks at a context's deadline only; the end of ours ends the exchange at once.
func exchange(ctx context.Context, c *dns.Client, m *dns.Msg, server string) (*dns.Msg, error) {
	conn, err := c.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	r, _, err := c.ExchangeWithConnContext(ctx, m, conn)
	return r, err
}
