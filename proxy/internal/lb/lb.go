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
	// HealthySince is when the host became healthy, on the clock of Options.Now; 0: it counts
	// as warmed up. It is read where slow start is on.
	HealthySince int64
}

// Context is what one pick knows of its request. The zero value is a valid context but for
// Rand.
type Context struct {
	Rand uint64 // fresh random bits
	// Hash decides for RING_HASH and MAGLEV; without one (HasHash false) Rand does.
	Hash    uint64
	HasHash bool
	// Hasher is asked where a cluster has hash policies of its own, which take the place of Hash; nil: there is nothing to hash.
	Hasher Hasher
	// Avoid lists hosts tried before (retry_host_predicate previous_hosts); a pick that hits
	// one is repeated, Attempts times at most, and then taken as it is.
	Avoid    []*Load
	Attempts int
	// Repeat counts the repetitions: hash tables look elsewhere for each.
	Repeat uint64
	// OriginalDst is the destination for an ORIGINAL_DST cluster.
	OriginalDst netip.AddrPort
	// Authority and Port name the host in a dynamic forward proxy cluster: a name with or without a port, and the port of one without;
	// 0: the cluster's default.
	Authority []byte
	Port      uint16
	// Subset is what the request wants of its host's metadata; nil: nothing.
	Subset *xdsresource.MetadataMatch
	// Override is the address of the host that the request names, as text; empty: none. With
	// OverrideStrict no other host may stand in for it.
	Override       string
	OverrideStrict bool
	// Missing is what a pick says of Override: the cluster has no host of that address.
	Missing bool
	// Candidates are addresses of hosts to take before the policy is asked (OverrideHost). Each pick uses up those that it
	// looks at.
	Candidates []string
}

// Hasher hashes what is balanced by the policies of a cluster; false when none of them gives a hash.
type Hasher interface {
	HashBy(policies []xdsresource.HashPolicy) (hash uint64, ok bool)
}

// Rehash makes the hash that of a cluster's own policies.
func (c *Context) Rehash(policies []xdsresource.HashPolicy) {
	if c.Hash, c.HasHash = 0, false; c.Hasher != nil {
		c.Hash, c.HasHash = c.Hasher.HashBy(policies)
	}
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

// Options are what a policy that scans hosts may be given. The zero value is round robin.
type Options struct {
	Policy    xdsresource.LBPolicy
	Choices   uint32 // LEAST_REQUEST; below 2 means 2
	FullScan  bool   // LEAST_REQUEST: look at all hosts
	Bias      xdsresource.Double
	SlowStart xdsresource.SlowStart
	Now       func() int64 // nanoseconds, for SlowStart only
}

// Make returns the options of a cluster's configuration.
func Make(c *xdsresource.LoadBalancing, now func() int64) Options {
	return Options{Policy: c.Policy, Choices: c.Choices, FullScan: c.FullScan, Bias: c.Bias, SlowStart: c.SlowStart, Now: now}
}

// New returns the balancer of a policy over hosts. seed spreads the starting points of
// workers. RING_HASH and MAGLEV take a Table instead.
func New(o Options, hosts []*Load, seed uint64) Balancer {
	switch {
	case len(hosts) == 0:
		return empty{}
	case len(hosts) == 1:
		return single{}
	case o.Policy == xdsresource.LBRandom:
		return &random{n: uint64(len(hosts))} // Envoy's, too, knows no weights
	case !equal(hosts) || o.slowing(hosts):
		return newEDF(o, hosts, seed)
	case o.Policy == xdsresource.LBLeastRequest && o.FullScan:
		return &leastOfAll{hosts: hosts}
	case o.Policy == xdsresource.LBLeastRequest:
		return &leastRequest{hosts: hosts, choices: max(int(o.Choices), 2)}
	}
	return &roundRobin{n: len(hosts), next: int(seed % uint64(len(hosts)))}
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

// Next is a step of splitmix64, for more bits than one Rand holds.
func Next(r uint64) uint64 {
	r += 0x9e3779b97f4a7c15
	r = (r ^ r>>30) * 0xbf58476d1ce4e5b9
	r = (r ^ r>>27) * 0x94d049bb133111eb
	return r ^ r>>31
}

type empty struct{}

func (empty) Pick(*Context) int { return -1 }

type single struct{}

func (single) Pick(*Context) int { return 0 }

type random struct{ n uint64 }

func (b *random) Pick(c *Context) int { return int(below(Next(c.Rand), b.n)) }

type roundRobin struct{ n, next int }

func (b *roundRobin) Pick(*Context) int {
	i := b.next
	if b.next++; b.next == b.n {
		b.next = 0
	}
	return i
}
