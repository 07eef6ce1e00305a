package lb

import (
	"math"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// edf is Envoy's earliest-deadline-first scheduler: each pick takes the host whose deadline
// is next and moves that deadline on by 1/weight, so that hosts are picked in proportion to
// their weights and evenly spread. For LEAST_REQUEST the weight is divided by the active
// requests + 1 at that moment, to the power of Options.Bias.
type edf struct {
	hosts []*Load
	opts  Options
	heap  []deadline
	seq   uint64
}

type deadline struct {
	at    float64
	order uint64 // first come, first served among equals
	host  int
}

func newEDF(o Options, hosts []*Load, seed uint64) *edf {
	b := &edf{hosts: hosts, opts: o}
	start := int(seed % uint64(len(hosts)))
	for i := range hosts {
		b.push((start+i)%len(hosts), 0)
	}
	// Workers must not pick in step: begin somewhere in the first round.
	for range below(Next(seed), uint64(len(hosts))) {
		b.Pick(nil)
	}
	return b
}

func (b *edf) weight(i int) float64 {
	h := b.hosts[i]
	w := float64(max(h.Weight, 1))
	if b.opts.Policy == xdsresource.LBLeastRequest {
		switch load, bias := float64(max(h.Active, 0)+1), b.opts.Bias.Now(); bias {
		case 0: // plain weights
		case 1:
			w /= load
		default:
			w /= math.Pow(load, bias)
		}
	}
	if b.opts.SlowStart.Window > 0 {
		w *= b.opts.started(h)
	}
	return w
}

func (b *edf) push(host int, now float64) {
	b.seq++
	d := deadline{at: now + 1/b.weight(host), order: b.seq, host: host}
	b.heap = append(b.heap, d)
	for i := len(b.heap) - 1; i > 0; {
		p := (i - 1) / 2
		if !before(b.heap[i], b.heap[p]) {
			break
		}
		b.heap[i], b.heap[p] = b.heap[p], b.heap[i]
		i = p
	}
}

// Pick takes the head and puts it back with its next deadline, sifting down from the top.
func (b *edf) Pick(*Context) int {
	d := b.heap[0]
	b.seq++
	b.heap[0] = deadline{at: d.at + 1/b.weight(d.host), order: b.seq, host: d.host}
	for i := 0; ; {
		c := 2*i + 1
		if c >= len(b.heap) {
			break
		}
		if c+1 < len(b.heap) && before(b.heap[c+1], b.heap[c]) {
			c++
		}
		if !before(b.heap[c], b.heap[i]) {
			break
		}
		b.heap[i], b.heap[c] = b.heap[c], b.heap[i]
		i = c
	}
	return d.host
}

func before(a, b deadline) bool {
	return a.at < b.at || a.at == b.at && a.order < b.order
}
