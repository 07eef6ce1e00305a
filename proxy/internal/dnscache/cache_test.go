package dnscache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loop is a worker whose posted functions wait for the test to run them.
type loop struct {
	mu  sync.Mutex
	fns []func()
}

func (l *loop) Post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fns = append(l.fns, f)
	return true
}

func (l *loop) run() {
	l.mu.Lock()
	fns := l.fns
	l.fns = nil
	l.mu.Unlock()
	for _, f := range fns {
		f()
	}
}

type rcode int

func (r rcode) Error() string { return fmt.Sprint("rcode ", int(r)) }
func (r rcode) Rcode() int    { return int(r) }

// names is a resolver. An answer is addresses, "never", "none" (no data), an RCODE ("#2"), or anything else for an error; names that it
// does not know do not exist.
type names struct {
	mu    sync.Mutex
	known map[string]string
	ttl   time.Duration
	asked []string
}

func (n *names) set(host, answer string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known[host] = answer
}

func (n *names) Resolve(ctx context.Context, host string, _ xdsresource.DNSFamily) ([]netip.Addr, time.Duration, error) {
	n.mu.Lock()
	n.asked = append(n.asked, host)
	answer, ok := n.known[host]
	n.mu.Unlock()
	var code int
	switch _, err := fmt.Sscanf(answer, "#%d", &code); {
	case !ok:
		return nil, 0, rcode(3)
	case err == nil:
		return nil, 0, rcode(code)
	case answer == "none":
		return nil, 0, nil
	case answer == "never":
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	var out []netip.Addr
	for word := range strings.FieldsSeq(answer) {
		a, err := netip.ParseAddr(word)
		if err != nil {
			return nil, 0, errors.New(answer)
		}
		out = append(out, a)
	}
	return out, n.ttl, nil
}

// bench is a cache with its workers, in the bubble of a test.
type bench struct {
	*testing.T
	set   *Set
	cache *Cache
	done  func()
	loops []*loop
	names *names
	store *stats.Store
}

func config(change ...func(*xdsresource.DNSCache)) *xdsresource.DNSCache {
	c := &xdsresource.DNSCache{
		Name: "c", DNS: xdsresource.DNS{RespectTTL: true, Refresh: time.Minute, MinRefresh: 5 * time.Second}, HostTTL: 5 * time.Minute,
		MaxHosts: 1024, MaxPending: 1024, QueryTimeout: 5 * time.Second,
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func run(t *testing.T, workers int, cfg *xdsresource.DNSCache, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, names: &names{known: map[string]string{}, ttl: time.Minute}, store: stats.NewStore(stats.Options{Workers: workers})}
		d := Deps{Stats: b.store, Logger: slog.New(slog.DiscardHandler), Resolver: func(*xdsresource.DNSResolver) Resolver { return b.names }}
		for range workers {
			l := &loop{}
			b.loops = append(b.loops, l)
			d.Loops = append(d.Loops, l)
		}
		b.set = NewSet(d)
		var err error
		if b.cache, b.done, err = b.set.Use(cfg); err != nil {
			t.Fatal(err)
		}
		f(b)
		b.set.Close()
	})
}

// settle lets queries end and workers see what came of them.
func (b *bench) settle() {
	for range 3 {
		synctest.Wait()
		for _, l := range b.loops {
			l.run()
		}
	}
}

func (b *bench) pass(d time.Duration) {
	time.Sleep(d) // of the bubble's clock
	b.settle()
}

// ask asks for a host at a worker, and returns the answer in words: "wait" if there is none at once, with where it will stand.
func (b *bench) ask(worker int, host string) (now string, later *string, cancel func()) {
	later = new(string)
	a, cancel := b.cache.Local(worker).Load([]byte(host), 80, func(a Answer) { *later = words(a) })
	if cancel != nil {
		return "wait", later, cancel
	}
	return words(a), later, nil
}

func words(a Answer) string {
	switch a.Outcome {
	case Resolved:
		return a.Address.String()
	case Failed:
		return a.Details
	case Full:
		return "full"
	}
	return "busy"
}

// get asks, and waits for the answer.
func (b *bench) get(worker int, host string) string {
	b.Helper()
	now, later, _ := b.ask(worker, host)
	if now != "wait" {
		return now
	}
	b.settle()
	return "after a wait " + *later
}

func (b *bench) hosts() string {
	var out []string
	for _, h := range b.cache.Hosts() {
		s := h.Name + "="
		for i, a := range h.Addresses {
			if i > 0 {
				s += "+"
			}
			s += netip.AddrPortFrom(a.IP, a.Port).String()
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func (b *bench) want(what, got, want string) {
	b.Helper()
	if got != want {
		b.Errorf("%s: %q, want %q", what, got, want)
	}
}

func (b *bench) stat(name string, want int64) {
	b.Helper()
	s, err := b.store.Snapshot(b.Context(), stats.Query{})
	if err != nil {
		b.Fatal(err)
	}
	if v, _ := s.Value("dns_cache.c." + name); v != want {
		b.Errorf("%s is %d, want %d", name, v, want)
	}
}

// TestAnswers: what requests are told, the first time and once it is known.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct{ host, answer, want string }{
		{"a.test", "10.0.0.1", "10.0.0.1:80"},
		{"A.Test:8080", "10.0.0.1", "10.0.0.1:8080"},
		{"two.test", "10.0.0.2 10.0.0.1", "10.0.0.2:80"},
		{"no.test", "", "cares_norecords:Domain_name_not_found"},
		{"none.test", "none", "cares_norecords:DNS_server_returned_answer_with_no_data"},
		{"bad.test", "#2", "cares_failure:DNS_server_returned_general_failure"},
		{"refused.test", "#5", "cares_failure:DNS_server_refused_query"},
		{"cut.test", "no route", "cares_failure:Could_not_contact_DNS_servers"},
		{"10.9.9.9", "", "10.9.9.9:80"},
		{"[::1]:8443", "", "[::1]:8443"},
	} {
		run(t, 2, config(), func(b *bench) {
			host, _ := cutPort(strings.ToLower(tt.host))
			if tt.answer != "" {
				b.names.set(host, tt.answer)
			}
			b.want(tt.host, b.get(0, tt.host), "after a wait "+tt.want)
			b.want(tt.host+" again", b.get(0, tt.host), tt.want)
			b.want(tt.host+" at another worker", b.get(1, tt.host), tt.want)
			if n := len(b.names.asked); n > 1 {
				t.Errorf("%s: asked %d times", tt.host, n)
			}
		})
	}
}

// TestNoSuchNames: what can be no name is answered at once, and takes no place.
func TestNoSuchNames(t *testing.T) {
	run(t, 1, config(), func(b *bench) {
		for _, host := range []string{"a b", "a..b", ".a", "a/b", "a.test:", "a.test:x", "a.test:0", "a.test:65536", "[::1", "[1.2.3.4.5]", "[fe80::1%25eth0]", "::1", "ä.test",
			strings.Repeat("a", 64) + ".test", strings.Repeat("abcdefg.", 40)} {
			b.want(host, b.get(0, host), misformatted)
		}
		b.stat("num_hosts", 0)
		b.stat("dns_query_attempt", 0)
	})
}

// TestWaiting: one query serves all who wait for a name, those of other workers as well; who leaves is not told.
func TestWaiting(t *testing.T) {
	run(t, 2, config(func(c *xdsresource.DNSCache) { c.MaxPending = 3 }), func(b *bench) {
		b.names.set("slow.test", "never")
		_, one, _ := b.ask(0, "slow.test")
		_, two, leave := b.ask(0, "slow.test:80")
		_, three, _ := b.ask(1, "slow.test")
		now, _, _ := b.ask(1, "other.test")
		b.want("a fourth", now, "busy")
		b.stat("dns_rq_pending_overflow", 1)
		b.stat("circuit_breakers.rq_pending_open", 1)
		b.stat("circuit_breakers.rq_pending_remaining", 0)
		leave()
		leave()
		b.stat("circuit_breakers.rq_pending_open", 0)
		b.settle()
		b.pass(4 * time.Second)
		b.want("before the time is over", *one+*two+*three, "")
		b.pass(time.Second)
		b.want("the first", *one, "resolve_timeout")
		b.want("who has left", *two, "")
		b.want("at the other worker", *three, "resolve_timeout")
		b.stat("dns_query_timeout", 1)
		b.stat("dns_query_failure", 1)
		b.stat("circuit_breakers.rq_pending_remaining", 3)
		if n := len(b.names.asked); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// TestFull: there are no more names than there may be, until one goes.
func TestFull(t *testing.T) {
	run(t, 1, config(func(c *xdsresource.DNSCache) { c.MaxHosts = 2 }), func(b *bench) {
		b.names.set("a.test", "10.0.0.1")
		b.want("one", b.get(0, "a.test"), "after a wait 10.0.0.1:80")
		b.want("two", b.get(0, "no.test"), "after a wait cares_norecords:Domain_name_not_found")
		b.want("three", b.get(0, "a.test:81"), "after a wait full")
		b.want("one again", b.get(0, "a.test"), "10.0.0.1:80")
		b.stat("host_overflow", 1)
		b.stat("num_hosts", 2)
		for range 6 { // a.test is in use, no.test is not
			b.cache.Local(0).Touch([]byte("a.test"), 80)
			b.pass(time.Minute)
		}
		b.stat("host_removed", 1)
		b.want("another", b.get(0, "a.test:81"), "after a wait 10.0.0.1:81")
		b.want("hosts", b.hosts(), "a.test:80=10.0.0.1:80 a.test:81=10.0.0.1:81")
	})
}

// TestRefresh: a name is asked for again when its answer is no good any more; what it had it keeps, and what it has anew takes the place of that.
func TestRefresh(t *testing.T) {
	run(t, 1, config(func(c *xdsresource.DNSCache) { c.HostTTL = time.Hour }), func(b *bench) {
		b.names.set("a.test", "10.0.0.1 10.0.0.2")
		b.names.ttl = 20 * time.Second
		looks := 0
		defer b.cache.Watch(func() { looks++ })()
		b.get(0, "a.test")
		b.want("hosts", b.hosts(), "a.test:80=10.0.0.1:80+10.0.0.2:80")
		b.names.set("a.test", "10.0.0.2 10.0.0.1")
		b.pass(21 * time.Second)
		b.want("rotated", b.hosts(), "a.test:80=10.0.0.1:80+10.0.0.2:80")
		b.names.set("a.test", "10.0.0.3 10.0.0.1")
		b.pass(20 * time.Second)
		b.want("another beside it", b.hosts(), "a.test:80=10.0.0.1:80+10.0.0.3:80")
		b.names.set("a.test", "#2")
		b.pass(20 * time.Second)
		b.names.set("a.test", "none")
		b.pass(time.Minute)
		b.want("after failures", b.get(0, "a.test"), "10.0.0.1:80")
		b.names.set("a.test", "10.0.0.4")
		b.names.ttl = time.Second
		b.pass(time.Minute)
		b.want("moved", b.get(0, "a.test"), "10.0.0.4:80")
		n := len(b.names.asked)
		b.pass(time.Minute)
		if got := len(b.names.asked) - n; got != 12 { // not more often than every 5 s
			t.Errorf("asked %d times in a minute", got)
		}
		if looks != 3 {
			t.Errorf("clusters had to look %d times, want 3", looks)
		}
		b.stat("host_address_changed", 3)
	})
}

// TestClustersFirst: when a request goes on, clusters have seen the name; when a name goes, no request finds it once they have.
func TestClustersFirst(t *testing.T) {
	run(t, 1, config(func(c *xdsresource.DNSCache) { c.HostTTL = time.Second }), func(b *bench) {
		b.names.set("a.test", "10.0.0.1")
		var order []string
		defer b.cache.Watch(func() {
			order = append(order, "cluster ["+b.hosts()+"]")
			b.loops[0].Post(func() { order = append(order, "worker's cluster") })
		})()
		b.cache.Local(0).Load([]byte("a.test"), 80, func(Answer) { order = append(order, "request") })
		b.settle()
		b.pass(time.Minute)
		want := []string{"cluster [a.test:80=10.0.0.1:80]", "worker's cluster", "request", "cluster []", "worker's cluster"}
		if !slices.Equal(order, want) {
			t.Errorf("%q\nwant %q", order, want)
		}
		if b.cache.Local(0).Touch([]byte("a.test"), 80) != nil {
			t.Error("the name is still known")
		}
	})
}

// TestRejected: addresses that are filtered out are no addresses.
func TestRejected(t *testing.T) {
	inside := &xdsresource.AddressRanges{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	run(t, 1, config(func(c *xdsresource.DNSCache) { c.Rejected = inside }), func(b *bench) {
		b.names.set("a.test", "10.0.0.1 192.0.2.1")
		b.names.set("b.test", "10.0.0.1")
		b.want("one of two", b.get(0, "a.test"), "after a wait 192.0.2.1:80")
		b.want("the only one", b.get(0, "b.test"), "after a wait address_denied")
		b.want("an address", b.get(0, "10.1.1.1"), "after a wait address_denied")
		b.stat("dns_address_filter_out", 3)
		b.names.set("a.test", "10.0.0.1")
		b.pass(time.Minute)
		b.want("none any more", b.get(0, "a.test"), "192.0.2.1:80")
	})
}

// TestRetryOnDemand: a name that has failed is asked for by the next request, and by nobody else.
func TestRetryOnDemand(t *testing.T) {
	run(t, 2, config(func(c *xdsresource.DNSCache) { c.RetryOnDemand = true }), func(b *bench) {
		b.names.set("a.test", "#2")
		b.want("first", b.get(0, "a.test"), "after a wait cares_failure:DNS_server_returned_general_failure")
		b.pass(4 * time.Minute)
		b.want("again", b.get(0, "a.test"), "after a wait cares_failure:DNS_server_returned_general_failure")
		b.names.set("a.test", "10.0.0.1")
		b.want("and again, elsewhere", b.get(1, "a.test"), "after a wait 10.0.0.1:80")
		b.want("known", b.get(0, "a.test"), "10.0.0.1:80")
		if n := len(b.names.asked); n != 3 {
			t.Errorf("asked %d times", n)
		}
		b.get(0, "no.test")
		b.names.set("down.test", "#2")
		b.get(0, "down.test")
		b.pass(6 * time.Minute)
		if s := b.hosts(); s != "" {
			t.Errorf("still there: %s", s)
		}
		b.stat("num_hosts", 0)
	})
}

// TestShared: who names a cache gets the same one, if it is meant to be the same; it is there as long as somebody uses it.
func TestShared(t *testing.T) {
	run(t, 1, config(), func(b *bench) {
		same, done, err := b.set.Use(config())
		if err != nil || same != b.cache {
			t.Fatalf("the same settings: %v", err)
		}
		other := config(func(c *xdsresource.DNSCache) { c.MaxHosts = 7 })
		if _, _, err := b.set.Use(other); err == nil || !strings.Contains(err.Error(), `DNS cache "c" with different settings`) {
			t.Errorf("other settings: %v", err)
		}
		b.names.set("a.test", "10.0.0.1")
		done()
		done()
		b.want("one user less", b.get(0, "a.test"), "after a wait 10.0.0.1:80")
		b.names.set("never.test", "never")
		_, waits, _ := b.ask(0, "never.test")
		b.settle()
		_, late, _ := b.ask(0, "late.test")
		b.done()
		b.settle()
		b.want("who waits", *waits+" "+*late, "cache_is_gone cache_is_gone")
		fresh, done, err := b.set.Use(other)
		if err != nil || fresh == b.cache {
			t.Errorf("once the first is gone: %v", err)
		}
		done()
	})
}

// TestPreresolve: names of the configuration are there before anybody asks.
func TestPreresolve(t *testing.T) {
	run(t, 1, config(func(c *xdsresource.DNSCache) {
		c.Preresolve = []xdsresource.Address{{Host: "a.test", Port: 443}, {Host: "a..b", Port: 1}}
	}), func(b *bench) {
		b.settle()
		b.want("port 443", b.get(0, "a.test:443"), "cares_norecords:Domain_name_not_found")
		b.stat("num_hosts", 1)
	})
}

// FuzzAppendName holds the two forms of a name against each other for whatever a client may send.
func FuzzAppendName(f *testing.F) {
	for _, s := range []string{"a.test", "A.test:80", "[::1]:80", "10.0.0.1", ":", "[]", "[", "a:b:c", "a.test:99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, ok := AppendName(nil, s, 80)
		if !ok {
			return
		}
		again, ok := AppendName(nil, []byte(name), 1)
		if !ok || string(again) != string(name) {
			t.Errorf("%q is %q, and that %q", s, name, again)
		}
		if host, port, _ := splitName(string(name)); host == "" || port == 0 || len(name) > maxName+len(":65535") {
			t.Errorf("%q is %q: host %q, port %d", s, name, host, port)
		}
	})
}
