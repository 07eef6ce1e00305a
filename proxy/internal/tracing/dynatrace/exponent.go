package dynatrace

import "math/bits"

// most is the greatest exponent of ours: one in 32768 is recorded.
const most = 15

// plan is what a minute's requests say of the next: the exponents of their kinds.
type plan struct {
	by map[string]uint8
	// rest is that of the rarest, which kinds that did not come have as well.
	rest uint8
}

// newPlan finds exponents by which about as many are recorded as wanted, of requests as often as in top. nil: there were none.
func newPlan(top []counter, wanted uint32) *plan {
	if len(top) == 0 {
		return nil
	}
	exponents := make([]uint8, len(top))
	if wanted > 0 {
		spread(top, uint64(wanted), exponents)
	}
	p := &plan{by: make(map[string]uint8, len(top)), rest: exponents[len(top)-1]}
	for i, c := range top {
		p.by[c.kind] = exponents[i]
	}
	return p
}

// spread gives each kind an equal part of what is wanted. What the rare ones leave of theirs goes to the others, the rarest first.
func spread(top []counter, wanted uint64, exponents []uint8) {
	each := max(wanted/uint64(len(top)), 1)
	for i, c := range top {
		exponents[i] = uint8(min(max(bits.Len64(c.count/each), 1)-1, most))
	}
	recorded := func() (n uint64) {
		for i, c := range top {
			n += c.count >> exponents[i]
		}
		return n
	}
	if recorded() >= wanted {
		return
	}
	for range 5 {
		for i := len(top) - 1; i >= 0; i-- {
			if exponents[i] > 0 {
				exponents[i]--
			}
			if recorded() >= wanted {
				return
			}
		}
	}
}

// exponent is that of a kind.
func (p *plan) exponent(kind []byte) uint8 {
	if e, ok := p.by[string(kind)]; ok {
		return e
	}
	return p.rest
}
