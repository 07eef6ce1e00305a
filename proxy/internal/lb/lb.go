package lb

import (
	"math/bits"
	"net/netip"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Load is what a balancer reads of a host. The worker's host object embeds it.
type Load struct {
	Active int    // requests (or TCP connections) in flight on this worker
	Weight uint32 // at least 1
}

// Context is what one pick knows of its request. The zero value is a valid context but for
// Rand.
type Context struct {
	Rand uint64 // fresh random bits
	// Hash decides for RING_HASH and MAGLEV; without one (HasHash false) Rand does.
	Hash    uint64
	HasHash bool
	// Avoid lists hosts tried before (retry_host_predicate previous_hosts); a pick that hits
	// one is repeated, Attempts times at most, and then taken as it is.
	Avoid    []*Load
	Attempts int
	// OriginalDst is the destination for an ORIGINAL_DST cluster.
	OriginalDst netip.AddrPort
}

// Avoids reports whether the pick should rather not be h.
func (c *Context) Avoids(h *Load) bool {
	for _, a := range c.Avoid {
		if a == h {
			return true
		}
	}
	return false
}

// Balancer picks an index into the hosts that it was made with; -1 when there are none.
// It must be used by one goroutine, and made anew when the hosts or their weights change.
type Balancer interface {
	Pick(c *Context) int
}

// New returns the balancer of a policy over hosts. seed spreads the starting points of
// workers; choices is for LEAST_REQUEST (0: 2). RING_HASH and MAGLEV take a Table instead.
func New(p xdsresource.LBPolicy, hosts []*Load, choices uint32, seed uint64) Balancer {
	switch {
	case len(hosts) == 0:
		return empty{}
	case p == xdsresource.LBRandom:
		return &random{n: uint64(len(hosts))}
	case p == xdsresource.LBLeastRequest && equal(hosts):
		return &leastRequest{hosts: hosts, choices: max(int(choices), 2)}
	case p == xdsresource.LBLeastRequest:
		return newEDF(hosts, true, seed)
	case equal(hosts):
		return &roundRobin{n: len(hosts), next: int(seed % uint64(len(hosts)))}
	}
	return newEDF(hosts, false, seed)
}

func equal(hosts []*Load) bool {
	for _, h := range hosts[1:] {
		if h.Weight != hosts[0].Weight {
			return false
		}
	}
	return true
}

// below maps random bits to [0, n) without division.
func below(r, n uint64) uint64 {
	hi, _ := bits.Mul64(r, n)
	return hi
}

// next is a step of splitmix64, for more bits than one Rand holds.
func next(r uint64) uint64 {
	r += 0x9e3779b97f4a7c15
	r = (r ^ r>>30) * 0xbf58476d1ce4e5b9
	r = (r ^ r>>27) * 0x94d049bb133111eb
	return r ^ r>>31
}

type empty struct{}

func (empty) Pick(*Context) int { return -1 }

type random struct{ n uint64 }

func (b *random) Pick(c *Context) int { return int(below(next(c.Rand), b.n)) }

type roundRobin struct{ n, next int }

func (b *roundRobin) Pick(*Context) int {
	i := b.next
	if b.next++; b.next == b.n {
		b.next = 0
	}
	return i
}

// leastRequest is Envoy's "power of two choices" for hosts of equal weight: the least loaded
// of some hosts drawn at random (with replacement).
type leastRequest struct {
	hosts   []*Load
	choices int
}

func (b *leastRequest) Pick(c *Context) int {
	r := next(c.Rand)
	best := int(below(r, uint64(len(b.hosts))))
	for range b.choices - 1 {
		r = next(r)
		if i := int(below(r, uint64(len(b.hosts)))); b.hosts[i].Active < b.hosts[best].Active {
			best = i
		}
	}
	return best
}
