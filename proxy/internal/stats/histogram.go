package stats

import (
	"math"
	"math/bits"
)

// hist is a log-linear histogram of two significant decimal digits, the resolution of
// Envoy's (circllhist). Its bins are closed on the right, (low, high], so that counts at the
// Prometheus bounds, all of two digits at most, are exact for whole numbers.
//
// Values 0 and 1 to 100 have a bin each; after that every power of ten has ninety.
// Decades are allocated when first hit.
type hist struct {
	count, sum uint64
	zero       uint64
	small      *[100]uint64    // 1..100
	decades    [17]*[90]uint64 // decade d: (10^(d+2), 10^(d+3)]
}

var pow10 = [20]uint64{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

func (h *hist) record(v uint64) {
	h.count++
	h.sum += v
	if v == 0 {
		h.zero++
		return
	}
	v-- // right-closed
	if v < 100 {
		if h.small == nil {
			h.small = new([100]uint64)
		}
		h.small[v]++
		return
	}
	// Number of decimal digits less one: 1233/4096 approximates log10(2).
	e := bits.Len64(v) * 1233 >> 12
	if v < pow10[e] {
		e--
	}
	d := min(e-2, len(h.decades)-1)
	if h.decades[d] == nil {
		h.decades[d] = new([90]uint64)
	}
	h.decades[d][min(v/pow10[d+1], 99)-10]++
}

func (h *hist) addTo(t *hist) {
	t.count += h.count
	t.sum += h.sum
	t.zero += h.zero
	if h.small != nil {
		if t.small == nil {
			t.small = new([100]uint64)
		}
		for i, n := range h.small {
			t.small[i] += n
		}
	}
	for d, from := range h.decades {
		if from == nil {
			continue
		}
		if t.decades[d] == nil {
			t.decades[d] = new([90]uint64)
		}
		for i, n := range from {
			t.decades[d][i] += n
		}
	}
}

// each calls f for every bin that is not empty, in ascending order, with its bounds as
// Envoy's bins have them (the bin of 3 is [3, 3.1)) and the largest whole number in it.
func (h *hist) each(f func(low, high float64, max uint64, n uint64)) {
	if h.zero > 0 {
		f(0, 0, 0, h.zero)
	}
	if h.small != nil {
		for i, n := range h.small {
			if n == 0 {
				continue
			}
			v := float64(i + 1)
			w := 1.0
			switch {
			case i+1 < 10:
				w = 0.1
			case i+1 == 100:
				w = 10
			}
			f(v, v+w, uint64(i+1), n)
		}
	}
	for d, bins := range h.decades {
		if bins == nil {
			continue
		}
		for i, n := range bins {
			if n > 0 {
				w := pow10[d+1]
				lo := uint64(i+10) * w
				f(float64(lo), float64(lo+w), lo+w, n)
			}
		}
	}
}

// Bounds are the upper bounds of Envoy's default Prometheus buckets.
var Bounds = []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000}

// cumulative returns, for each bound, how many values were at most that large.
func (h *hist) cumulative(bounds []float64) []uint64 {
	out := make([]uint64, len(bounds))
	if h == nil {
		return out
	}
	h.each(func(_, _ float64, max uint64, n uint64) {
		for i := len(bounds) - 1; i >= 0 && bounds[i] >= float64(max); i-- {
			out[i] += n
		}
	})
	return out
}

// Quantiles are those that Envoy prints.
var Quantiles = []float64{0, 0.25, 0.5, 0.75, 0.90, 0.95, 0.99, 0.995, 0.999, 1}

// quantiles returns the values at qs, ascending; NaN when empty. As Envoy's histogram does it, the
// n values of a bin are taken to lie evenly in it, with as much room before the first and after the
// last as between them.
func (h *hist) quantiles(qs []float64) []float64 {
	out := make([]float64, len(qs))
	if h == nil || h.count == 0 {
		for i := range out {
			out[i] = math.NaN()
		}
		return out
	}
	next, seen := 0, uint64(0)
	// rank is which of all values, in order and counted from 1, is asked for.
	rank := func(q float64) uint64 { return min(max(uint64(math.Ceil(q*float64(h.count))), 1), h.count) }
	h.each(func(low, high float64, _ uint64, n uint64) {
		for next < len(qs) && rank(qs[next]) <= seen+n {
			part := float64(rank(qs[next])-seen) / float64(n+1)
			out[next] = low + (high-low)*part
			next++
		}
		seen += n
	})
	return out
}
