package nameserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxForwarded is how many queries are passed on at a time. One more is refused at once.
	maxForwarded = 256
	// rereadAfter is how old what resolv.conf says may be: a machine changes networks.
	rereadAfter = 5 * time.Second
	// serverTimeout is how long one name server may take at most, and forwardTimeout all of them.
	serverTimeout  = 5 * time.Second
	forwardTimeout = 10 * time.Second
	// maxServers and maxAttempts bound what resolv.conf may ask for, as the C library does (resolv.conf(5)).
	maxServers  = 3
	maxAttempts = 5
)

// upstream passes queries on to the name servers of the system.
type upstream struct {
	resolvConf string // the file
	now        func() time.Time
	slots      chan struct{}

	mu   sync.Mutex
	conf *dns.ClientConfig // the last that could be read; nil: none yet
	read time.Time
	err  error
}

func newUpstream(resolvConf string, now func() time.Time) *upstream {
	return &upstream{resolvConf: resolvConf, now: now, slots: make(chan struct{}, maxForwarded)}
}

// config returns what resolv.conf says. A file that has become unreadable counts as it was.
func (u *upstream) config() (*dns.ClientConfig, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := u.now(); u.read.IsZero() || now.Sub(u.read) >= rereadAfter {
		u.read = now
		conf, err := dns.ClientConfigFromFile(u.resolvConf)
		if err == nil {
			u.conf = conf
		}
		u.err = err
	}
	if u.conf == nil {
		return nil, u.err
	}
	return u.conf, nil
}

// search is the first domain that resolvers of this system append to names, "" for none.
func (u *upstream) search() string {
	if conf, err := u.config(); err == nil && len(conf.Search) > 0 {
		return conf.Search[0]
	}
	return ""
}

var errBusy = errors.New("too many queries are being passed on")

// forward asks the system's name servers, in their order, over the network that the query came by ("udp" or "tcp"). An answer that says that the server cannot is
// taken only where no other server has a better one.
func (u *upstream) forward(ctx context.Context, network string, q *dns.Msg) (*dns.Msg, error) {
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	default:
		return nil, errBusy
	}
	conf, err := u.config()
	if err != nil {
		return nil, err
	}
	if len(conf.Servers) == 0 {
		return nil, fmt.Errorf("%s names no server", u.resolvConf)
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	timeout := min(max(time.Duration(conf.Timeout)*time.Second, time.Second), serverTimeout)
	var refusal *dns.Msg
	var errs []error
	for range min(max(conf.Attempts, 1), maxAttempts) {
		for _, server := range conf.Servers[:min(len(conf.Servers), maxServers)] {
			m, err := exchange(ctx, network, net.JoinHostPort(server, conf.Port), q, timeout)
			switch {
			case err != nil:
				errs = append(errs, err)
			case slices.Contains([]int{dns.RcodeServerFailure, dns.RcodeNotImplemented, dns.RcodeRefused}, m.Rcode):
				refusal = m
			default:
				return m, nil
			}
			if ctx.Err() != nil {
				return refusal, errors.Join(errs...)
			}
		}
		if refusal != nil {
			return refusal, nil
		}
	}
	return nil, errors.Join(errs...)
}

// exchange asks one server. The query goes out under another number and from another port than it came with, and only what answers just that is taken.
func exchange(ctx context.Context, network, server string, q *dns.Msg, timeout time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, network, server)
	if err != nil {
		return nil, fmt.Errorf("name server: %w", err)
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	asked := q.Copy()
	asked.Id = dns.Id()
	c := &dns.Conn{Conn: raw, UDPSize: dns.MinMsgSize}
	if o := asked.IsEdns0(); o != nil {
		o.SetUDPSize(min(o.UDPSize(), largestUDP))
		c.UDPSize = max(o.UDPSize(), dns.MinMsgSize)
	}
	if err := c.WriteMsg(asked); err != nil {
		return nil, fmt.Errorf("name server %s: %w", server, err)
	}
	for {
		m, err := c.ReadMsg()
		var broken net.Error
		switch {
		case err == nil && answers(m, asked):
			m.Id = q.Id
			return m, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("name server %s: %w", server, ctx.Err())
		case network == "udp" && !errors.As(err, &broken):
			// Somebody else's answer, or rubbish. The real one may come yet.
		case err == nil:
			return nil, fmt.Errorf("name server %s answers something else", server)
		default:
			return nil, fmt.Errorf("name server %s: %w", server, err)
		}
	}
}

// answers reports whether a message is a response to the query.
func answers(m, q *dns.Msg) bool {
	return m.Response && m.Id == q.Id && len(m.Question) == 1 && m.Question[0].Qtype == q.Question[0].Qtype &&
		m.Question[0].Qclass == q.Question[0].Qclass && strings.EqualFold(m.Question[0].Name, q.Question[0].Name)
}
