package dnscache

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Cache is the names of one configuration. Its methods may be called from any goroutine.
type Cache struct {
	cfg      *xdsresource.DNSCache
	set      *Set
	users    int // under Set.mu
	resolver Resolver
	owned    *stats.Store
	stats    stats.Block
	began    time.Time
	ctx      context.Context // of all queries
	cancel   context.CancelFunc
	locals   []*Local
	pending  atomic.Int64 // requests that wait, of all workers
	open     atomic.Bool  // no more of them may

	mu         sync.Mutex
	entries    map[string]*entry
	watchers   map[*watcher]struct{}
	changed    map[string]*known // not yet published; nil: the name is gone
	publishing bool
	closed     bool
}

// entry is a name.
type entry struct {
	name string // "host:port"
	host string
	port uint16
	ip   netip.Addr   // valid: the host is an address, and needs no resolution
	used atomic.Int64 // when somebody last used it, in ns since Cache.began

	// Under Cache.mu:
	pace      *Pace
	resolving bool
	known     *known      // what came of the last resolution; nil: the first is under way
	due       *time.Timer // nil: the first resolution is under way
}

// known is what a name resolves to; immutable.
type known struct {
	entry     *entry
	addresses []xdsresource.Address // none: it has none, details tell why
	details   string
}

type watcher struct{ changed func() }

// Host is a name that has addresses.
type Host struct {
	Name      string // "host:port"
	Addresses []xdsresource.Address
}

func newCache(s *Set, cfg *xdsresource.DNSCache) *Cache {
	c := &Cache{
		cfg: cfg, set: s, resolver: s.deps.Resolver(cfg.Resolver), owned: s.deps.Stats.Owned(), began: time.Now(),
		entries: map[string]*entry{}, watchers: map[*watcher]struct{}{}, changed: map[string]*known{},
	}
	c.stats = c.owned.Scope("dns_cache").Scope(cfg.Name).Block(cacheSet)
	main := s.deps.Stats.Main()
	main.GaugeAdd(c.stats.Gauge(pendingRemaining), int64(cfg.MaxPending))
	main.GaugeAdd(c.stats.Gauge(pendingOpen), 0)
	main.GaugeAdd(c.stats.Gauge(numHosts), 0)
	c.ctx, c.cancel = context.WithCancel(context.Background()) // close ends it
	for i, l := range s.deps.Loops {
		c.locals = append(c.locals, &Local{c: c, loop: l, shard: s.deps.Stats.Shard(i), known: map[string]*known{}, waiting: map[string]map[*waiter]struct{}{}})
	}
	return c
}

// Local returns a worker's view, to be used on that worker only.
func (c *Cache) Local(worker int) *Local { return c.locals[worker] }

// Watch has changed called after Hosts has changed, until stop is called; no more than one call is under way. It is not called within Watch.
func (c *Cache) Watch(changed func()) (stop func()) {
	w := &watcher{changed}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers[w] = struct{}{}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, w)
	}
}

// Hosts returns the names that have addresses, in the order of their names.
func (c *Cache) Hosts() []Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Host, 0, len(c.entries))
	for _, e := range c.entries {
		if e.known != nil && len(e.known.addresses) > 0 {
			out = append(out, Host{e.name, e.known.addresses})
		}
	}
	slices.SortFunc(out, func(a, b Host) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (c *Cache) now() int64 { return int64(time.Since(c.began)) }

func (c *Cache) inc(i int) { c.set.deps.Stats.Main().Inc(c.stats.Counter(i)) }

func (c *Cache) preresolve() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.cfg.Preresolve {
		name, ok := AppendName(nil, a.Host, a.Port)
		if !ok {
			c.set.deps.Logger.Warn("a name of preresolve_hostnames cannot be resolved", "cache", c.cfg.Name, "host", a.Host)
			continue
		}
		if c.entries[string(name)] == nil {
			c.resolve(c.add(string(name)))
		}
	}
}

// load resolves a name that a worker waits for. again: it is known, and is resolved once more if there was no answer.
func (c *Cache) load(name string, l *Local, again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[name]
	switch {
	case c.closed:
		l.loop.Post(l.end)
	case e == nil && len(c.entries) >= int(c.cfg.MaxHosts):
		c.inc(hostOverflow)
		l.loop.Post(func() { l.answer(name, Answer{Outcome: Full}) })
	case e == nil:
		c.resolve(c.add(name))
	case again && !e.resolving && len(e.known.addresses) == 0:
		c.resolve(e)
	}
	// Else a resolution is under way, or its result on its way to the worker: that answers.
}

// add makes an entry.
func (c *Cache) add(name string) *entry {
	e := &entry{name: name, pace: NewPace(&c.cfg.DNS)}
	e.host, e.port, e.ip = splitName(name)
	e.used.Store(c.now())
	c.entries[name] = e
	c.inc(hostAdded)
	c.set.deps.Stats.Main().GaugeAdd(c.stats.Gauge(numHosts), 1)
	return e
}

// resolve begins a query.
func (c *Cache) resolve(e *entry) {
	e.resolving = true
	c.inc(queryAttempt)
	c.set.wg.Go(func() { c.ask(e) })
}

func (c *Cache) ask(e *entry) {
	if e.ip.IsValid() {
		c.finish(e, ofFamily(e.ip, c.cfg.Family), 0, nil)
		return
	}
	ctx := c.ctx
	if c.cfg.QueryTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.QueryTimeout)
		defer cancel()
	}
	as, ttl, err := c.resolver.Resolve(ctx, e.host, c.cfg.Family)
	if end, ok := ctx.Deadline(); err != nil && ok && !time.Now().Before(end) { // the resolver's own clock may be the first to say so
		err = errLate
	}
	c.finish(e, as, ttl, err)
}

// ofFamily is an address, where a family has it.
func ofFamily(ip netip.Addr, f xdsresource.DNSFamily) []netip.Addr {
	if f == xdsresource.DNSV4Only && !ip.Is4() || f == xdsresource.DNSV6Only && ip.Is4() {
		return nil
	}
	return []netip.Addr{ip}
}

// finish takes the result of a query.
func (c *Cache) finish(e *entry, as []netip.Addr, ttl time.Duration, err error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	e.resolving = false
	details, failed := outcome(e, as, err)
	switch {
	case err == errLate:
		c.inc(queryTimeout)
		c.inc(queryFailure)
	case failed:
		c.inc(queryFailure)
	default:
		c.inc(querySuccess)
	}
	as = slices.DeleteFunc(as, func(a netip.Addr) bool {
		out := c.cfg.Rejected.Match(a)
		if out {
			c.inc(addressFilteredOut)
			details = "address_denied"
		}
		return out
	})
	first := e.known == nil
	k := &known{entry: e, details: details}
	switch addresses := e.order(as); {
	case len(addresses) == 0 && !first && len(e.known.addresses) > 0:
		k = e.known // what a name had once it keeps, as in Envoy
	case !first && same(addresses, e.known.addresses):
		if len(addresses) > 0 {
			k = e.known
		}
	default:
		if len(addresses) > 0 {
			k.addresses, k.details = addresses, ""
			c.inc(hostAddressChanged)
		}
	}
	if k != e.known {
		e.known = k
		c.changed[e.name] = k
	}
	wait := e.pace.Wait(!failed, ttl)
	if len(k.addresses) == 0 && failed && c.cfg.RetryOnDemand {
		wait = max(c.cfg.HostTTL, time.Second) // only to see whether it may go
	}
	if e.due == nil {
		e.due = time.AfterFunc(wait, func() { c.onDue(e) })
	} else {
		e.due.Reset(wait)
	}
	c.mu.Unlock()
	c.publish()
}

// order turns addresses into those to connect to: the one in use comes first as long as the name has it, so that servers that rotate
// their answers do not cost connections.
func (e *entry) order(as []netip.Addr) []xdsresource.Address {
	out := make([]xdsresource.Address, 0, len(as))
	for _, a := range as {
		x := xdsresource.Address{IP: a, Port: e.port}
		switch {
		case slices.Contains(out, x):
		case e.known != nil && len(e.known.addresses) > 0 && e.known.addresses[0] == x:
			out = slices.Insert(out, 0, x)
		default:
			out = append(out, x)
		}
	}
	return out
}

// same reports whether two lists have the same addresses, in whatever order.
func same(a, b []xdsresource.Address) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(x xdsresource.Address) bool { return !slices.Contains(b, x) })
}

// onDue resolves a name again, or lets it go if nobody has used it for long.
func (c *Cache) onDue(e *entry) {
	c.mu.Lock()
	if c.closed || c.entries[e.name] != e {
		c.mu.Unlock()
		return
	}
	idle := time.Duration(c.now() - e.used.Load())
	switch {
	case e.resolving: // a request has asked for it meanwhile
	case idle > c.cfg.HostTTL || c.cfg.RetryOnDemand && len(e.known.addresses) == 0:
		delete(c.entries, e.name)
		c.changed[e.name] = nil
		c.inc(hostRemoved)
		c.set.deps.Stats.Main().GaugeAdd(c.stats.Gauge(numHosts), -1)
	default:
		c.resolve(e)
	}
	c.mu.Unlock()
	c.publish()
}

// publish brings what has changed to the clusters and then to the workers. What is gone goes from the workers first. While one goroutine
// is at it, others leave their changes to it: so workers see them in order, and many changes at once cost the clusters one look.
func (c *Cache) publish() {
	for {
		c.mu.Lock()
		if c.publishing || len(c.changed) == 0 {
			c.mu.Unlock()
			return
		}
		batch := c.changed
		c.changed, c.publishing = map[string]*known{}, true
		watchers := make([]*watcher, 0, len(c.watchers))
		for w := range c.watchers {
			watchers = append(watchers, w)
		}
		c.mu.Unlock()
		for _, l := range c.locals {
			l.loop.Post(func() { l.forget(batch) })
		}
		for _, w := range watchers {
			w.changed()
		}
		for _, l := range c.locals {
			l.loop.Post(func() { l.learn(batch) })
		}
		c.mu.Lock()
		c.publishing = false
		c.mu.Unlock()
	}
}

// close ends the cache; nobody uses it any more, but for requests that still wait.
func (c *Cache) close() {
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, e := range c.entries {
		if e.due != nil {
			e.due.Stop()
		}
	}
	clear(c.entries)
	for _, l := range c.locals {
		l.loop.Post(l.end)
	}
	c.owned.Close()
}
