package asyncclient

import (
	"net/netip"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// Deps is what clients work with.
type Deps struct {
	Clusters *cluster.Manager
	Stats    *stats.Store
	// Workers is how many loops there are.
	Workers int
	// LocalAddress is sent as x-forwarded-for, as Envoy does with its node's address; may be invalid.
	LocalAddress netip.Addr
}

// Clients is one client for each worker.
type Clients struct {
	deps     Deps
	stats    stats.Block
	byWorker []*Client // each is made, and touched, by its worker alone
}

// New returns the clients of all workers.
func New(d Deps) *Clients {
	return &Clients{deps: d, stats: Stats(d.Stats), byWorker: make([]*Client, d.Workers)}
}

// On returns the client of a loop. It is called on that loop.
func (c *Clients) On(l *eventloop.Loop) *Client {
	if c.byWorker[l.ID()] == nil {
		c.byWorker[l.ID()] = &Client{
			loop: l, clusters: c.deps.Clusters.Local(l.ID()), stats: c.stats, shard: c.deps.Stats.Shard(l.ID()), address: c.deps.LocalAddress,
		}
	}
	return c.byWorker[l.ID()]
}

// Client sends requests from one worker's loop.
type Client struct {
	loop     *eventloop.Loop
	clusters *cluster.LocalManager
	stats    stats.Block
	shard    *stats.Shard
	address  netip.Addr
}

// Local returns this worker's view of a cluster, for a filter that counts in the cluster's
// statistics; nil when there is none.
func (c *Client) Local(name string) *cluster.Local { return c.clusters.Get(name) }

// statSet is what Envoy's router counts for its async client.
var statSet = stats.NewSet(stats.Item{Name: "rq_total"}, stats.Item{Name: "rq_direct_response"}, stats.Item{Name: "no_route"}, stats.Item{Name: "no_cluster"})

const rqTotal = 0

// Stats are the statistics of requests that the proxy sends by itself, "http.async-client.*". The router
// counts its mirrored copies there as well, as in Envoy.
func Stats(s *stats.Store) stats.Block {
	return s.Scope("http").Tagged("envoy.http_conn_manager_prefix", "async-client").Block(statSet)
}

// CountRequest counts one of them.
func CountRequest(s *stats.Shard, b stats.Block) { s.Add(b.Counter(rqTotal), 1) }
