package snapshot

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"time"
)

// vips gives hosts without addresses an address of their own, by which a client that resolves
// names with its agent says which of them it means.
//
// An address follows from the hash of "namespace/host", so that every replica of the control
// plane gives the same. Where hashes collide the older host has the slot, and the younger
// tries others in an order that follows from its hash as well. The outcome is the same
// whatever order hosts come and go in: that of placing all of them by age. A change costs what
// it moves, not the number of hosts.
//
// https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/#address-auto-allocation
type vips struct {
	claims map[string]*claim
	slots  map[uint32]*vipSlot
}

// vipSlots is a prime, so that every step from slot to slot reaches all of them.
const vipSlots = 65011

type claim struct {
	key     string
	created time.Time
	hash    uint32
	tries   uint32 // slots refused, in the order of the claim's own
}

type vipSlot struct {
	holder  *claim
	refused map[*claim]bool // younger claims that this slot came before their own for
}

func newVIPs() vips { return vips{claims: map[string]*claim{}, slots: map[uint32]*vipSlot{}} }

// slot is the one that the claim tries after so many refusals.
func (c *claim) slot(tries uint32) uint32 {
	step := 1 + c.hash/vipSlots%(vipSlots-1)
	return uint32((uint64(c.hash) + uint64(tries)*uint64(step)) % vipSlots)
}

// compare orders claims by age, of one age by key.
func (c *claim) compare(o *claim) int {
	return cmp.Or(c.created.Compare(o.created), cmp.Compare(c.key, o.key))
}

// set claims an address for a host, or gives its claim up. It returns the keys of hosts whose
// address differs afterwards.
func (v vips) set(key string, created time.Time, wanted bool) []string {
	have := v.claims[key]
	if have == nil && !wanted || have != nil && wanted && have.created.Equal(created) {
		return nil
	}
	before := map[string]uint32{}
	moved := func(c *claim) {
		if _, seen := before[c.key]; !seen {
			before[c.key] = c.slot(c.tries)
		}
	}
	if have != nil {
		moved(have)
		delete(v.claims, key)
		v.leave(have, moved)
	}
	if wanted && len(v.claims) < vipSlots {
		h := fnv.New32a()
		h.Write([]byte(key))
		c := &claim{key: key, created: created, hash: h.Sum32()}
		v.claims[key] = c
		v.place(c, moved)
	}
	out := []string{}
	for k, old := range before {
		if c := v.claims[k]; c == nil || c.slot(c.tries) != old {
			out = append(out, k)
		}
	}
	if _, known := before[key]; !known {
		out = append(out, key)
	}
	return out
}

// place finds a slot for a claim that has none, which may turn a younger one out.
func (v vips) place(c *claim, moved func(*claim)) {
	for {
		n := c.slot(c.tries)
		s := v.slots[n]
		if s == nil {
			s = &vipSlot{refused: map[*claim]bool{}}
			v.slots[n] = s
		}
		if s.holder == nil {
			s.holder = c
			return
		}
		if c.compare(s.holder) < 0 {
			moved(s.holder)
			c, s.holder = s.holder, c
		}
		s.refused[c] = true
		c.tries++
	}
}

// leave frees a claim's slot, and gives it to the oldest of those that it refused.
func (v vips) leave(c *claim, moved func(*claim)) {
	for try := range c.tries {
		delete(v.slots[c.slot(try)].refused, c)
	}
	for {
		n := c.slot(c.tries)
		s := v.slots[n]
		s.holder = nil
		var next *claim
		for r := range s.refused {
			if next == nil || r.compare(next) < 0 {
				next = r
			}
		}
		if next == nil {
			delete(v.slots, n)
			return
		}
		moved(next)
		// It goes back to this slot and forgets what it tried after; its last one is free.
		last := *next
		for try := next.tries; ; try-- {
			if next.slot(try) == n {
				next.tries = try
				break
			}
			if try != last.tries {
				delete(v.slots[next.slot(try)].refused, next)
			}
		}
		delete(s.refused, next)
		s.holder = next
		c = &last
	}
}

// addresses returns a host's IPv4 and IPv6 address, out of 240.240.0.0/16 and
// 2001:2::f0f0:0/112, which lead nowhere; nil when it claims none.
func (v vips) addresses(key string) []string {
	c := v.claims[key]
	if c == nil {
		return nil
	}
	// The first and last address of each 256 are left out: some take them for a network's own.
	n := c.slot(c.tries)
	a, b := n/254, n%254+1
	return []string{fmt.Sprintf("240.240.%d.%d", a, b), fmt.Sprintf("2001:2::f0f0:%x", a<<8|b)}
}
