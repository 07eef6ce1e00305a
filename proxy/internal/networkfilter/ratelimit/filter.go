// Package ratelimit is the network filter envoy.filters.network.ratelimit: it asks a rate limit
// service about each connection, and closes those over the limit.
//
// The service is asked when the connection is there, as in Envoy, and nothing is read from the
// client before it has answered. Here the rest of the chain waits as well: an upstream that speaks
// first says nothing to a client that is not let in. A client that breaks off ends the call.
//
// The call and its messages are package rls. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/rate_limit_filter
package ratelimit

import (
	"fmt"
	"math/rand/v2"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ratelimit/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/asyncclient"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/rls"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name, and that of its dynamic metadata.
const Name = "envoy.filters.network.ratelimit"

// Config is a validated ratelimit.v3.RateLimit of a network filter.
type Config struct {
	StatPrefix string
	Domain     string
	Service    rls.Service
	Deny       bool // failure_mode_deny
	// Enabled and Enforced are the percentages of connections that are asked about, and that are
	// closed over the limit: ratelimit.tcp_filter_enabled and ratelimit.tcp_filter_enforcing of the
	// runtime; 100 where it does not say.
	Enabled, Enforced *runtimekey.Key
	descriptors       []descriptor
}

// descriptor is one thing that is counted; values are formats.
type descriptor []entry

type entry struct {
	key   string
	value *format.Formatter
}

// ParseConfig reads the configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &ratelimitv3.RateLimit{}
	r := d.ReadFilter(Name, a, m)
	if err := r.Err(); err != nil {
		return nil, err
	}
	c := &Config{
		StatPrefix: m.GetStatPrefix(), Domain: m.GetDomain(), Deny: m.GetFailureModeDeny(),
		Service: rls.Read(r, "rate_limit_service", m.GetRateLimitService(), m.GetTimeout()),
		Enabled: r.RuntimeKey("ratelimit.tcp_filter_enabled"), Enforced: r.RuntimeKey("ratelimit.tcp_filter_enforcing"),
	}
	for i, d := range m.GetDescriptors() {
		var out descriptor
		for j, e := range d.GetEntries() {
			f, err := format.Compile(e.GetValue())
			if err != nil {
				r.Bad(fmt.Sprintf("descriptors[%d].entries[%d].value", i, j), "%v", err)
			}
			out = append(out, entry{e.GetKey(), f})
		}
		c.descriptors = append(c.descriptors, out)
	}
	return c, r.Err()
}

// Statistics, "ratelimit.<stat_prefix>.*", in the order of statSet.
const (
	total = iota
	failed
	overLimit
	ok
	failureAllowed
	cxClosed
	active // a gauge
)

var statSet = stats.NewSet(
	stats.Item{Name: "total"}, stats.Item{Name: "error"}, stats.Item{Name: "over_limit"}, stats.Item{Name: "ok"},
	stats.Item{Name: "failure_mode_allowed"}, stats.Item{Name: "cx_closed"}, stats.Item{Name: "active", Kind: stats.KindGauge},
)

type filter struct {
	*Config
	clients *asyncclient.Clients
	store   *stats.Store
	stats   stats.Block
}

// New makes the filter.
func New(cfg any, clients *asyncclient.Clients, s *stats.Store) networkfilter.Filter {
	c := cfg.(*Config)
	return &filter{Config: c, clients: clients, store: s, stats: s.Scope("ratelimit").Scope(c.StatPrefix).Block(statSet)}
}

// OnNewConnection implements networkfilter.Filter; a Holder's is not called.
func (f *filter) OnNewConnection(*conn.Conn, *listener.Context) bool { return true }

// HoldConnection implements networkfilter.Holder.
func (f *filter) HoldConnection(c *conn.Conn, _ *listener.Context, proceed func()) {
	if !drawn(f.Enabled) {
		proceed()
		return
	}
	h := &held{f: f, shard: f.store.Shard(c.Loop().ID())}
	h.Hold(c, proceed, h.over)
	h.inc(total)
	h.shard.GaugeAdd(f.stats.Gauge(active), 1)
	h.Await(f.Service.Ask(f.clients.On(c.Loop()), &rls.Request{Domain: f.Domain, Descriptors: f.describe(c.Info())}, h.answered))
}

// drawn decides by a percentage of the runtime.
func drawn(k *runtimekey.Key) bool {
	n := k.Uint(100)
	return n >= 100 || rand.Uint64N(100) < n
}

// describe writes the descriptors of a connection.
func (f *filter) describe(info *conn.Info) []route.Descriptor {
	ctx := format.Context{Info: &streaminfo.Info{Downstream: info}}
	out := make([]route.Descriptor, len(f.descriptors))
	for i, d := range f.descriptors {
		for _, e := range d {
			out[i].Entries = append(out[i].Entries, route.DescriptorEntry{Key: e.key, Value: string(e.value.Append(nil, &ctx))})
		}
	}
	return out
}

// held is a connection that waits.
type held struct {
	networkfilter.Held
	f     *filter
	shard *stats.Shard
}

func (h *held) inc(i int) { h.shard.Inc(h.f.stats.Counter(i)) }

// answered serves the connection, or closes it.
func (h *held) answered(a *rls.Answer) {
	h.Answered()
	for k, v := range a.Metadata {
		h.Conn().Info().SetMetadata(Name, k, v)
	}
	refuse := false
	switch a.Code {
	case rls.OK:
		h.inc(ok)
	case rls.OverLimit:
		h.inc(overLimit)
		refuse = drawn(h.f.Enforced)
	default:
		h.inc(failed)
		if refuse = h.f.Deny; !refuse {
			h.inc(failureAllowed)
		}
	}
	if refuse {
		h.inc(cxClosed)
		networkfilter.Refuse(h.Conn(), 0)
		return
	}
	h.Proceed()
}

// over ends the waiting.
func (h *held) over() { h.shard.GaugeAdd(h.f.stats.Gauge(active), -1) }
