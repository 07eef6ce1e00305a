package route

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Table is a compiled route configuration; immutable.
type Table struct {
	Config *xdsresource.RouteConfig
	hosts  hosts
	vhosts []*VirtualHost
	traces bool // of its virtual hosts, or of one that it had
}

// VirtualHost is a compiled virtual host.
type VirtualHost struct {
	*xdsresource.VirtualHost
	// Entries are its routes in order.
	Entries []*Entry
	// watched: used is kept, for those who forget what nobody uses.
	watched bool
	traces  bool // a route says something of spans
	used    atomic.Bool
	// Limits are what its rate_limits say of a request.
	Limits RateLimits
	// redirect answers plain requests where TLS is required.
	redirect *Entry
	// clusters are its virtual clusters, the one that takes what is left at the end; nil: it has none.
	clusters []VirtualCluster
	stats    *stats.Store // of Traffic; nil: it has none, or Count has not come
	// tree chooses among Entries which are tried; nil: all, in order.
	tree *tree
}

// candidates are the routes that a request is tried with, in order.
func (v *VirtualHost) candidates(r *Request) []*Entry {
	if v.tree == nil {
		return v.Entries
	}
	return findIn(v.tree, r.Headers)
}

// Entry is a compiled route. Exactly one of Forward, Redirect and Direct is set, unless the
// route is non-forwarding.
type Entry struct {
	*xdsresource.Route
	// Config is the route configuration that it is part of.
	Config      *xdsresource.RouteConfig
	VirtualHost *VirtualHost
	// Forward is the route action; nil for the other kinds. (It hides Route.Forward.)
	Forward *Forward
	// RequestOps and ResponseOps are the header changes of route, virtual host and table, in
	// the order to be applied. For a forwarding route take those of the Target.
	RequestOps, ResponseOps Ops
	// Body is the format of a direct response's body; nil: it is as it stands.
	Body *format.Body
	// Filters are per-filter configurations, the most specific one for each filter.
	Filters map[string]any
	// Switches: one of them turns its filter on or off.
	Switches bool
	// Tracing is what the route says of spans; nil: nothing.
	Tracing *Tracing
	// Traffic counts by the route's stat_prefix; nil: there is none.
	Traffic *Traffic
	match   match
	// path and host are what path_rewrite and host_rewrite print; nil: there is none.
	path, host *format.Formatter
}

// Forward is a compiled route action.
type Forward struct {
	*xdsresource.RouteAction
	// Limits are what the route's rate_limits say of a request.
	Limits RateLimits
	// Retry is the route's policy, else its virtual host's; nil: no retries by configuration.
	Retry *xdsresource.RetryPolicy
	// Mirrors are the route's or its virtual host's, else its table's. (It hides those of the action.)
	Mirrors []Mirror
	// HedgeTries: when a try's time is over another is made beside it.
	HedgeTries bool
	// Targets are the clusters to choose from; one, unless weighted.
	Targets []Target
	total   uint64
	keyed   bool // the runtime may override a weight
}

// Mirror is a compiled mirror policy.
type Mirror struct {
	*xdsresource.MirrorPolicy
	// Headers are its changes to the copy's headers.
	Headers Mutations
}

// Target is a cluster that a route leads to, with everything that depends on it.
type Target struct {
	Cluster string // empty: named by the header ClusterHeader
	// ClusterHeader is the header naming the cluster.
	ClusterHeader header.Key
	Weight        uint32
	weightKey     *runtimekey.Key // overrides Weight
	MetadataMatch *xdsresource.MetadataMatch
	HostRewrite   string // of the weighted cluster; "" leaves it to the route
	// Header changes of all levels, in the order to be applied.
	RequestOps, ResponseOps Ops
	// Filters are per-filter configurations, the most specific one for each filter; Own are
	// those of the weighted cluster itself. Switches is as in Entry.
	Filters, Own map[string]any
	Switches     bool
}

// Compile checks and compiles a route configuration. Errors name the virtual host and the
// route, for a NACK.
func Compile(cfg *xdsresource.RouteConfig) (*Table, error) {
	t := &Table{Config: cfg, hosts: newHosts()}
	c := compiler{cfg: cfg}
	for _, vh := range cfg.VirtualHosts {
		v, err := c.virtualHost(vh)
		if err == nil {
			err = t.hosts.add(v)
		}
		if err != nil {
			return nil, fmt.Errorf("route configuration %q: virtual host %q: %w", cfg.Name, vh.Name, err)
		}
		t.vhosts = append(t.vhosts, v)
		t.traces = t.traces || v.traces
	}
	return t, nil
}

type compiler struct {
	cfg *xdsresource.RouteConfig
	// shared are compiled mirrors, by the first of their policies: those of tables and virtual hosts are many routes'.
	shared map[*xdsresource.MirrorPolicy][]Mirror
}

func (c *compiler) virtualHost(cfg *xdsresource.VirtualHost) (*VirtualHost, error) {
	v := &VirtualHost{VirtualHost: cfg}
	if len(cfg.Domains) == 0 {
		return nil, errors.New("has no domains: name at least one, or \"*\"")
	}
	var err error
	if v.Limits, err = CompileRateLimits(cfg.RateLimits); err != nil {
		return nil, fmt.Errorf("rate_limits%w", err)
	}
	if v.Entries, err = c.entries(v, cfg.Routes); err != nil {
		return nil, err
	}
	if cfg.Matcher != nil {
		if v.tree, err = c.tree(v, cfg.Matcher); err != nil {
			return nil, fmt.Errorf("matcher: %w", err)
		}
	}
	v.clusters = virtualClusters(v)
	if cfg.RequireTLS != xdsresource.TLSNotRequired {
		v.redirect = &Entry{
			Route:       &xdsresource.Route{Redirect: &xdsresource.RedirectAction{HTTPS: true, Code: 301}},
			Config:      c.cfg,
			VirtualHost: v,
		}
	}
	return v, nil
}

func (c *compiler) entries(v *VirtualHost, routes []*xdsresource.Route) ([]*Entry, error) {
	out := make([]*Entry, 0, len(routes))
	for i, r := range routes {
		e, err := c.entry(v, r)
		if err != nil {
			return nil, fmt.Errorf("route %d %q: %w", i, r.Name, err)
		}
		out = append(out, e)
	}
	return out, nil
}

func (c *compiler) entry(v *VirtualHost, r *xdsresource.Route) (*Entry, error) {
	e := &Entry{Route: r, Config: c.cfg, VirtualHost: v, match: compileMatch(&r.Match)}
	cfg := c.cfg
	e.Filters, e.Switches = merge(cfg.FilterConfigs, v.FilterConfigs, r.FilterConfigs)
	var err error
	if e.RequestOps, err = c.ops(&cfg.RequestHeaders, &v.RequestHeaders, &r.RequestHeaders); err != nil {
		return nil, fmt.Errorf("request headers: %w", err)
	}
	if e.ResponseOps, err = c.ops(&cfg.ResponseHeaders, &v.ResponseHeaders, &r.ResponseHeaders); err != nil {
		return nil, fmt.Errorf("response headers: %w", err)
	}
	if e.Tracing, err = compileTracing(r.Tracing); err != nil {
		return nil, err
	}
	v.traces = v.traces || e.Tracing != nil
	if r.Direct != nil {
		if e.Body, err = format.CompileBody(r.Direct.Format); err != nil {
			return nil, fmt.Errorf("body_format: %w", err)
		}
	}
	if r.Redirect != nil {
		e.path, err = compileFormat("redirect.path_rewrite", r.Redirect.PathFormat)
		return e, err
	}
	if r.Forward == nil {
		return e, nil
	}
	if e.path, err = compileFormat("route.path_rewrite", r.Forward.PathFormat); err != nil {
		return nil, err
	}
	if e.host, err = compileFormat("route.host_rewrite", r.Forward.HostRewrite.Format); err != nil {
		return nil, err
	}
	f := &Forward{RouteAction: r.Forward, Retry: r.Forward.Retry}
	if f.Limits, err = CompileRateLimits(r.Forward.RateLimits); err != nil {
		return nil, fmt.Errorf("rate_limits%w", err)
	}
	if f.Retry == nil {
		f.Retry = v.Retry
	}
	policies := r.Forward.Mirrors
	if policies == nil {
		policies = cfg.Mirrors
	}
	if f.Mirrors, err = c.mirrors(policies); err != nil {
		return nil, err
	}
	if f.HedgeTries = v.Hedge; f.Hedge != nil {
		f.HedgeTries = *f.Hedge
	}
	e.Forward = f
	if len(r.Forward.Weighted) == 0 {
		t := Target{
			Cluster: r.Forward.Cluster, Weight: 1, MetadataMatch: r.Forward.MetadataMatch,
			RequestOps: e.RequestOps, ResponseOps: e.ResponseOps, Filters: e.Filters, Switches: e.Switches,
		}
		if r.Forward.ClusterHeader != "" {
			t.ClusterHeader = header.KeyOf(r.Forward.ClusterHeader)
		}
		f.Targets = []Target{t}
		f.total = 1
		return e, nil
	}
	for i := range r.Forward.Weighted {
		t, err := c.target(e, &r.Forward.Weighted[i])
		if err != nil {
			return nil, fmt.Errorf("weighted cluster %q: %w", r.Forward.Weighted[i].Name, err)
		}
		f.Targets = append(f.Targets, t)
		f.total += uint64(t.Weight)
		f.keyed = f.keyed || t.weightKey != nil
	}
	if f.total == 0 {
		return nil, errors.New("the weights of its clusters sum to 0")
	}
	return e, nil
}

func (c *compiler) mirrors(policies []xdsresource.MirrorPolicy) ([]Mirror, error) {
	if len(policies) == 0 {
		return nil, nil
	}
	if out := c.shared[&policies[0]]; out != nil {
		return out, nil
	}
	out := make([]Mirror, len(policies))
	for i := range policies {
		ms, err := CompileMutations(policies[i].RequestHeaders)
		if err != nil {
			return nil, fmt.Errorf("request_mirror_policies[%d].request_headers_mutations%w", i, err)
		}
		out[i] = Mirror{&policies[i], ms}
	}
	if c.shared == nil {
		c.shared = map[*xdsresource.MirrorPolicy][]Mirror{}
	}
	c.shared[&policies[0]] = out
	return out, nil
}

func (c *compiler) target(e *Entry, w *xdsresource.WeightedCluster) (Target, error) {
	cfg, v, r := c.cfg, e.VirtualHost, e.Route
	t := Target{Cluster: w.Name, Weight: w.Weight, weightKey: w.WeightKey, HostRewrite: w.HostRewrite}
	if w.ClusterHeader != "" {
		t.ClusterHeader = header.KeyOf(w.ClusterHeader)
	}
	t.MetadataMatch = e.Route.Forward.MetadataMatch.Merge(w.MetadataMatch) // the cluster's keys win over the route's
	t.Filters, t.Switches, t.Own = e.Filters, e.Switches, w.FilterConfigs
	if len(w.FilterConfigs) > 0 {
		t.Filters, t.Switches = merge(cfg.FilterConfigs, v.FilterConfigs, r.FilterConfigs, w.FilterConfigs)
	}
	var err error
	if t.RequestOps, err = c.ops(&cfg.RequestHeaders, &v.RequestHeaders, &r.RequestHeaders, &w.RequestHeaders); err != nil {
		return t, fmt.Errorf("request headers: %w", err)
	}
	if t.ResponseOps, err = c.ops(&cfg.ResponseHeaders, &v.ResponseHeaders, &r.ResponseHeaders, &w.ResponseHeaders); err != nil {
		return t, fmt.Errorf("response headers: %w", err)
	}
	return t, nil
}

// merge layers per-filter configurations, later ones over earlier ones, and reports whether one
// of them turns its filter on or off.
func merge(levels ...map[string]any) (out map[string]any, switches bool) {
	owned := false
	for i, l := range levels {
		if len(l) == 0 {
			continue
		}
		for _, c := range l {
			if _, ok := c.(xdsresource.FilterSwitch); ok {
				switches = true
			}
		}
		if out == nil {
			out = l // shared until a second level has something
			continue
		}
		if !owned {
			out, owned = maps.Clone(out), true
		}
		for name, c := range l {
			out[name] = over(levels[:i], name, c)
		}
	}
	return out, switches
}

// over is a filter's configuration above others: one that only turns the filter on leaves the
// others in force.
func over(levels []map[string]any, name string, c any) any {
	if c != xdsresource.FilterOn {
		return c
	}
	for _, l := range slices.Backward(levels) {
		if prev := l[name]; prev != nil && prev != xdsresource.FilterOff && prev != xdsresource.FilterOn {
			return prev
		}
	}
	return c
}

// BodyLimit is how many bytes of a request's body are kept, where the connection's limit is given. As
// in Envoy, and against what is written there, that does not bound the older form of the route's.
func (e *Entry) BodyLimit(connection int) int {
	r, v := e.Route, e.VirtualHost
	for _, l := range [...]*uint64{r.BodyLimit, v.BodyLimit, r.OldBodyLimit, v.OldBodyLimit} {
		if l != nil {
			return int(min(*l, math.MaxInt32))
		}
	}
	return connection
}

// Match returns the route for a request, nil when there is none (404, flag NR).
func (t *Table) Match(r *Request) *Entry {
	host, ok := t.hostOf(r.Headers)
	if !ok {
		return nil
	}
	v := t.hosts.find(host, t.Config.IgnorePortInHostMatching)
	if v == nil {
		return nil
	}
	if v.watched && !v.used.Load() {
		v.used.Store(true)
	}
	if v.redirect != nil && v.needsTLS(r) {
		return v.redirect
	}
	var p parts
	p.init(r)
	if t.Config.IgnorePathParameters {
		p.path, _, _ = bytes.Cut(p.path, []byte{';'})
	}
	for _, e := range v.candidates(r) {
		if e.match.check(r, &p).cause == matched {
			p.release()
			return e
		}
	}
	p.release()
	return nil
}

// HasHost reports whether a virtual host serves a request.
func (t *Table) HasHost(h *header.Map) bool {
	host, ok := t.hostOf(h)
	return ok && t.ServesHost(host)
}

// hostOf is what a request's virtual host is chosen by. False: it lacks the header, and as in Envoy not even a virtual host for all serves it.
func (t *Table) hostOf(h *header.Map) (host []byte, ok bool) {
	if k := t.Config.HostHeader; k.Name != "" {
		return h.GetKey(k)
	}
	return h.Value(header.Authority), true
}

// ServesHost is HasHost for the value of a host header.
func (t *Table) ServesHost(authority []byte) bool {
	return t.hosts.find(authority, t.Config.IgnorePortInHostMatching) != nil
}

func (p *parts) init(r *Request) {
	p.path, p.query = split(r.Headers.Value(header.Path))
	p.connect = string(r.Headers.Value(header.Method)) == "CONNECT"
}

func (v *VirtualHost) needsTLS(r *Request) bool {
	return !r.TLS.Secure && (v.RequireTLS == xdsresource.TLSAll || !r.Internal)
}

// VirtualHosts returns the compiled virtual hosts in the order of the configuration.
func (t *Table) VirtualHosts() []*VirtualHost { return t.vhosts }

// ClusterName returns the name of the target's cluster; empty when it should be named by a
// header that the request does not have. Only the latter kind allocates.
func (t *Target) ClusterName(h *header.Map) string {
	if t.Cluster != "" || t.ClusterHeader.Name == "" {
		return t.Cluster
	}
	v, _ := h.GetKey(t.ClusterHeader)
	return string(v)
}
