package route

import (
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// Pick chooses among the clusters of a forwarding route: by the request's random number, unless the route says that
// something of the request stands for it.
func (f *Forward) Pick(in HashInput, random uint64) *Target {
	if len(f.Targets) == 1 {
		return &f.Targets[0]
	}
	total := f.total
	if f.keyed {
		if total = f.weights(); total == 0 {
			return &f.Targets[0]
		}
	}
	n := f.number(in, random) % total
	for i := range f.Targets {
		w := f.Targets[i].weight()
		if n < w {
			return &f.Targets[i]
		}
		n -= w
	}
	return &f.Targets[len(f.Targets)-1]
}

// number is what chooses: the number in a header, the hash of the route's policies, or else chance.
func (f *Forward) number(in HashInput, random uint64) uint64 {
	if k := f.WeightBy.Header; k.Name != "" {
		if n, ok := numberIn(in.Headers, k); ok {
			return n
		}
	}
	if f.WeightBy.Hash {
		in.AsSent = true // a cookie that has yet to be made chooses no cluster
		if n, ok, _ := f.Hash(in, nil); ok {
			return n
		}
	}
	return random
}

// weights is the sum of what the runtime makes of the weights.
func (f *Forward) weights() (sum uint64) {
	for i := range f.Targets {
		sum += f.Targets[i].weight()
	}
	return sum
}

// weight is what holds now. More than 32 bits cannot be configured, and would overflow the sum.
func (t *Target) weight() uint64 {
	return min(t.weightKey.Uint(uint64(t.Weight)), 1<<32-1)
}

// numberIn reads a header that must be there once.
func numberIn(h *header.Map, k header.Key) (uint64, bool) {
	i := h.Find(k, 0)
	if i < 0 || h.Find(k, i+1) >= 0 {
		return 0, false
	}
	_, _, v := h.At(i)
	n, err := strconv.ParseUint(string(v), 10, 64)
	return n, err == nil
}
