package lb

// leastRequest is Envoy's "power of two choices" for hosts of equal weight: the least loaded
// of some hosts drawn at random (with replacement).
type leastRequest struct {
	hosts   []*Load
	choices int
}

func (b *leastRequest) Pick(c *Context) int {
	r := Next(c.Rand)
	best := int(below(r, uint64(len(b.hosts))))
	for range b.choices - 1 {
		r = Next(r)
		if i := int(below(r, uint64(len(b.hosts)))); b.hosts[i].Active < b.hosts[best].Active {
			best = i
		}
	}
	return best
}

// leastOfAll is selection_method FULL_SCAN: the least loaded host, one at random of several.
type leastOfAll struct{ hosts []*Load }

func (b *leastOfAll) Pick(c *Context) int {
	best, tied := 0, uint64(1)
	r := c.Rand
	for i, h := range b.hosts[1:] {
		switch d := h.Active - b.hosts[best].Active; {
		case d < 0:
			best, tied = i+1, 1
		case d == 0:
			// The n-th of n equals replaces the choice so far with probability 1/n.
			tied++
			if r = Next(r); below(r, tied) == 0 {
				best = i + 1
			}
		}
	}
	return best
}
