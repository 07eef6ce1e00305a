package listener

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/accesslog"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/overload"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// NetworkHandler serves the connections of a filter chain. It is shared by all workers and
// keeps what belongs to one by Loop.ID.
type NetworkHandler interface {
	// OnNewConnection is called on the connection's loop, after the TLS handshake if there
	// is one. It must call c.SetHandler. Bytes that have been read already wait in c.In and are
	// delivered to that handler's OnData afterwards.
	OnNewConnection(c *conn.Conn, l *Context)
}

// Refuser may be implemented by a NetworkHandler that counts connections. Refused is called on the
// loop when a connection for it ends in its TLS handshake.
type Refuser interface {
	Refused(c *conn.Conn)
}

// Drainer may be implemented by the conn.Handler of a connection. Drain is called on the loop
// when the connection's filter chain or listener is going away: the connection should end in
// order, after what it is doing. What has not ended by the deadline is closed.
type Drainer interface {
	Drain()
}

// Rescaler may be implemented by the conn.Handler of a connection. Rescale is called on the loop when
// the overload manager has made time-outs longer or shorter.
type Rescaler interface {
	Rescale()
}

// Context says where a connection came in. It is shared by all connections of a chain.
type Context struct {
	Listener  string // name
	Direction xdsresource.Direction
	Chain     string // filter chain name
	// Config is the listener's configuration when the chain was built; its access logs are
	// those of the listener.
	Config      *xdsresource.Listener
	FilterChain *xdsresource.FilterChain
}

// Options are what a listener needs; Loops, Chains and Stats are required.
type Options struct {
	Loops []*eventloop.Loop
	// Chains makes the handler of a filter chain, once for each version of it. release gives back what the
	// handler has of the process; it is called once, when no connection of the chain is left.
	Chains func(*xdsresource.FilterChain) (h NetworkHandler, release func(), err error)
	// Later runs what may wait for a lock or a disk, off the loops; nil: on them.
	Later   func(func())
	Secrets transportsocket.SecretProvider
	Stats   *stats.Store
	Logger  *slog.Logger
	// Original finds the listener for a connection's original destination, for listeners with
	// UseOriginalDst; nil: none. Called on the loops.
	Original func(dst netip.AddrPort) *Listener
	// AccessLogs compiles the listener's own access logs, which get a line for each connection
	// at its end; nil: a listener that has some is refused. release is called when none writes any more.
	AccessLogs func([]xdsresource.AccessLog) (logs []*accesslog.Logger, release func(), err error)
	// ShareAddress binds although another process listens on the address with SO_REUSEPORT:
	// for a hand-over. Otherwise that is an error, because the two would split connections.
	ShareAddress bool
	// Inherited returns the descriptor of a worker's socket that another process hands over, -1
	// for none. It is asked with take to hand it out, else only whether there is one. nil: none.
	// Workers beyond those that there are may be asked for: the other process may have had more.
	Inherited func(listener string, a xdsresource.Address, worker int, take bool) int
	// Overload says when accepting is to stop or connections are to be refused; nil: never.
	Overload *overload.State
	// DrainGradually asks connections that drain to end at moments that are spread over the
	// time they have, so that their clients do not all come back at once; else at the start.
	DrainGradually bool
}

// Listener is a live listener. Its methods may be called from any goroutine that is no loop.
type Listener struct {
	o       Options
	log     *slog.Logger
	scope   stats.Scope
	stats   stats.Block
	total   stats.Gauge // connections of all listeners
	config  atomic.Pointer[config]
	workers []*worker
	serving atomic.Int64 // connections that are served, for a limit that the runtime may set at any time

	mu      sync.Mutex // guards what follows
	sockets [][]*socket
	stopped bool
	adopted []adopted
	handed  bool // another process has the sockets, too
	closed  bool
}

// config is a compiled configuration; immutable.
type config struct {
	res      *xdsresource.Listener
	match    *matcher
	fallback *chain
	chains   []*chain // with the fallback
	logs     []*accesslog.Logger
	endLogs  func()
	inspect  bool // look for a ClientHello
	sniff    bool // look for HTTP
	// inspector and proxyErrors count for all listeners together.
	inspector   stats.Block
	proxyErrors stats.Counter // bad headers
	proxied     stats.Block   // of proxy_protocol
}

type chain struct {
	fc      *xdsresource.FilterChain
	handler NetworkHandler
	release func() // of what the handler has
	tls     *transportsocket.Server
	ctx     Context
}

func (c *chain) name() string { return c.fc.Name }

// New compiles a listener. Nothing is bound before Start. An error says which filter chain is
// wrong.
func New(cfg *xdsresource.Listener, o Options) (*Listener, error) {
	l := &Listener{o: o, log: o.Logger}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.o.Stats = o.Stats.Owned()
	l.scope = StatScope(l.o.Stats, cfg)
	l.stats = l.scope.Block(statSet)
	l.total = l.o.Stats.Gauge("server.total_connections")
	c, err := l.compile(cfg, nil)
	if err != nil {
		l.o.Stats.Close()
		return nil, err
	}
	l.config.Store(c)
	for _, loop := range o.Loops {
		n := strconv.Itoa(loop.ID())
		l.workers = append(l.workers, &worker{l: l, loop: loop, own: l.scope.Marked("worker_"+n, "worker", stats.TagWorker, n).Block(workerSet)})
	}
	return l, nil
}

// compile builds a configuration, with the chains of old where they have not changed.
func (l *Listener) compile(res *xdsresource.Listener, old *config) (*config, error) {
	c := &config{res: res, inspect: res.TLSInspector, sniff: res.HTTPInspector}
	if pp := res.ProxyProtocol; pp != nil {
		scope := l.o.Stats.Scope("proxy_proto")
		if pp.StatPrefix != "" {
			scope = scope.Scope(pp.StatPrefix)
		}
		c.proxied, c.proxyErrors = scope.Block(proxySet), l.o.Stats.Counter("downstream_cx_proxy_proto_error")
	}
	if err := l.openLogs(c, old); err != nil {
		return nil, fmt.Errorf("listener %q: %w", res.Name, err)
	}
	made := []*chain{} // to be undone on error
	build := func(fc *xdsresource.FilterChain) (*chain, error) {
		if ch := old.same(res, fc); ch != nil {
			return ch, nil
		}
		ch, err := l.newChain(res, fc)
		if err == nil {
			made = append(made, ch)
		}
		return ch, err
	}
	err := func() error {
		for _, fc := range res.FilterChains {
			ch, err := build(fc)
			if err != nil {
				return err
			}
			c.chains = append(c.chains, ch)
			// Envoy adds the inspector where a match needs what only it finds. One that is there
			// may be disabled for some ports.
			m := &fc.Match
			c.inspect = c.inspect || len(m.ServerNames) > 0 || m.TransportProtocol != "" || len(m.ApplicationProtocols) > 0
		}
		var err error
		if c.match, err = compileMatcher(c.chains); err != nil {
			return err
		}
		if res.Default != nil {
			if c.fallback, err = build(res.Default); err != nil {
				return err
			}
			c.chains = append(c.chains, c.fallback)
		}
		if c.inspect {
			c.inspector = l.o.Stats.Scope("tls_inspector").Block(inspectorSet)
		}
		if len(c.chains) == 0 && !res.UseOriginalDst {
			return errors.New("no filter chain")
		}
		return nil
	}()
	if err != nil {
		for _, ch := range made {
			ch.close()
			ch.release()
		}
		if old == nil || !sameLogs(old.res, res) {
			c.endLogs()
		}
		return nil, fmt.Errorf("listener %q: %w", res.Name, err)
	}
	return c, nil
}

// openLogs compiles the access logs, or takes over the old ones when they have not changed.
func (l *Listener) openLogs(c, old *config) error {
	c.endLogs = func() {}
	switch {
	case old != nil && sameLogs(old.res, c.res):
		c.logs, c.endLogs = old.logs, old.endLogs
		return nil
	case len(c.res.AccessLogs) == 0:
		return nil
	case l.o.AccessLogs == nil:
		return errors.New("access_log is not supported on this listener")
	}
	var err error
	c.logs, c.endLogs, err = l.o.AccessLogs(c.res.AccessLogs)
	return err
}

func sameLogs(a, b *xdsresource.Listener) bool { return reflect.DeepEqual(a.AccessLogs, b.AccessLogs) }

// same returns the live chain that an equal configuration has made.
func (c *config) same(res *xdsresource.Listener, fc *xdsresource.FilterChain) *chain {
	if c == nil || c.res.Direction != res.Direction || !sameLogs(c.res, res) {
		return nil
	}
	for _, ch := range c.chains {
		if equal(ch.fc, fc) {
			return ch
		}
	}
	return nil
}

func equal(a, b *xdsresource.FilterChain) bool {
	if unknown := [32]byte{}; a.Fingerprint != unknown && b.Fingerprint != unknown {
		return a.Fingerprint == b.Fingerprint
	}
	return reflect.DeepEqual(a, b)
}

func (l *Listener) newChain(res *xdsresource.Listener, fc *xdsresource.FilterChain) (*chain, error) {
	ch := &chain{fc: fc, ctx: Context{
		Listener: res.Name, Direction: res.Direction, Chain: fc.Name, Config: res, FilterChain: fc,
	}}
	var err error
	if fc.TLS != nil {
		transportsocket.NewServerStats(l.scope, nil) // shown before there is anything to count
		if ch.tls, err = transportsocket.NewServer(fc.TLS, l.o.Secrets); err != nil {
			return nil, fmt.Errorf("filter chain %q: transport socket: %w", fc.Name, err)
		}
	}
	if ch.handler, ch.release, err = l.o.Chains(fc); err != nil {
		ch.close()
		return nil, fmt.Errorf("filter chain %q: %w", fc.Name, err)
	}
	return ch, nil
}

// close ends what is for new connections only.
func (c *chain) close() {
	if c.tls != nil {
		c.tls.Close()
	}
}

// Config is the configuration in use.
func (l *Listener) Config() *xdsresource.Listener { return l.config.Load().res }

// Ready reports whether all certificates of all chains have arrived.
func (l *Listener) Ready() bool {
	for _, ch := range l.config.Load().chains {
		if ch.tls != nil && !ch.tls.Ready() {
			return false
		}
	}
	return true
}

// Update replaces the configuration in place: sockets stay, new connections see the new
// chains, those of chains that are gone or have changed are drained within the time given. The
// address must be the same. On error the old configuration stays. draining is how many chains drain;
// drained is called by Options.Later when that is over.
func (l *Listener) Update(cfg *xdsresource.Listener, drain time.Duration, drained func()) (draining int, err error) {
	old := l.config.Load()
	if !reflect.DeepEqual(addresses(old.res), addresses(cfg)) || old.res.BindToPort != cfg.BindToPort {
		return 0, fmt.Errorf("listener %q: the address changes from %s to %s, which needs a new listener", cfg.Name, addressText(old.res.Address), addressText(cfg.Address))
	}
	c, err := l.compile(cfg, old)
	if err != nil {
		return 0, err
	}
	l.config.Store(c)
	kept := map[*chain]bool{}
	for _, ch := range c.chains {
		kept[ch] = true
	}
	gone := map[*chain]bool{}
	for _, ch := range old.chains {
		if !kept[ch] {
			gone[ch] = true
			ch.close()
		}
	}
	if !sameLogs(old.res, cfg) {
		l.onAll(func(_ *worker, done func()) { done() }, old.endLogs)
	}
	if len(gone) > 0 {
		l.retire(drain, func(ch *chain) bool { return gone[ch] }, func() {
			for ch := range gone {
				ch.release()
			}
			drained()
		})
	}
	return len(gone), nil
}

// onAll runs f on every loop, and then, when each has called done there, what follows by Options.Later.
func (l *Listener) onAll(f func(w *worker, done func()), then func()) {
	var left atomic.Int32
	left.Store(int32(len(l.workers)))
	done := func() {
		if left.Add(-1) > 0 {
			return
		}
		if l.o.Later != nil {
			l.o.Later(then)
		} else {
			then()
		}
	}
	for _, w := range l.workers {
		if !w.loop.Post(func() { f(w, done) }) {
			done() // the loop has ended, and with it the connections
		}
	}
}

// retire drains chains that take no new connections, and calls then when the last one has ended.
func (l *Listener) retire(within time.Duration, which func(*chain) bool, then func()) {
	l.onAll(func(w *worker, done func()) {
		w.drain(within, !l.o.DrainGradually, which, func() {
			// Handlers are told of the end in the loop's next turn.
			w.later(func() { w.later(done) })
		})
	}, then)
}

// Drain asks all connections to end in order, and closes those that are still there after the
// time given: as the options say, or with atOnce without spreading it. It does not wait, and does
// not stop accepting.
func (l *Listener) Drain(within time.Duration, atOnce bool) {
	for _, w := range l.workers {
		w.loop.Post(func() { w.drain(within, atOnce || !l.o.DrainGradually, func(*chain) bool { return true }, nil) })
	}
}

// Discourage makes connections end after what they are doing, and new ones after their first
// request (/healthcheck/fail), until it is taken back. Connections that were asked stay asked.
func (l *Listener) Discourage(yes bool) {
	for _, w := range l.workers {
		w.loop.Post(func() {
			w.discourage = yes
			if yes {
				w.ask(func(*chain) bool { return true })
			}
		})
	}
}

// Rescale tells all connections that time-outs have another length.
func (l *Listener) Rescale() {
	for _, w := range l.workers {
		w.loop.Post(func() {
			w.each(func(sv *served) {
				if h, ok := sv.c.Handler().(Rescaler); ok {
					h.Rescale()
				}
			})
		})
	}
}

// Close stops accepting, and drains. After the time given no connection is left; drained is called by
// Options.Later as soon as that is so, and may be nil. Only the first call does something.
func (l *Listener) Close(drain time.Duration, drained func()) {
	l.mu.Lock()
	again := l.closed
	l.closed = true
	l.mu.Unlock()
	if again {
		return
	}
	l.StopAccepting()
	c := l.config.Load()
	for _, ch := range c.chains {
		ch.close()
	}
	for _, w := range l.workers {
		w.loop.Post(func() { w.closed = true })
	}
	l.retire(drain, func(*chain) bool { return true }, func() {
		for _, ch := range c.chains {
			ch.release()
		}
		c.endLogs()
		l.o.Stats.Close()
		if drained != nil {
			drained()
		}
	})
}
