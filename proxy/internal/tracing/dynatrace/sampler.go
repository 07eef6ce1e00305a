package dynatrace

import (
	"bytes"
	"crypto/md5" //nolint:gosec // Dynatrace's names of environments are made by it.
	"encoding/binary"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
)

// Sampler is tracing.Sampler. One of them serves all workers.
type Sampler struct {
	key    string // of our entry in tracestate
	wanted atomic.Uint32
	plan   atomic.Pointer[plan] // nil in the first minute, and after one without requests
	shards []shard
}

// shard is a worker's. The others read it once a minute, and seen before there is a plan.
type shard struct {
	mu      sync.Mutex
	counts  *summary
	seen    atomic.Uint64 // requests since the last plan
	scratch []byte
}

// New returns a sampler for an environment of Dynatrace, its tenant, and a cluster there. wanted is how many traces are to begin in a minute.
func New(tenant string, cluster int32, wanted uint32, workers int) *Sampler {
	s := &Sampler{
		key:    strconv.FormatUint(uint64(tenantID(tenant)), 16) + "-" + strconv.FormatUint(uint64(uint32(cluster)), 16) + "@dt",
		shards: make([]shard, workers),
	}
	s.wanted.Store(wanted)
	for i := range s.shards {
		s.shards[i].counts = newSummary()
	}
	return s
}

// tenantID is how tracestate names an environment: its MD5 sum, folded to 32 bits.
func tenantID(tenant string) (id uint32) {
	if tenant == "" {
		return 0
	}
	ascii := []byte(tenant)
	for i, c := range ascii {
		if c >= 0x80 {
			ascii[i] = '?'
		}
	}
	sum := md5.Sum(ascii)
	for i := 0; i < len(sum); i += 4 {
		id ^= binary.BigEndian.Uint32(sum[i:])
	}
	return id
}

// Want changes how many traces are to begin in a minute, from the next plan on.
func (s *Sampler) Want(n uint32) { s.wanted.Store(n) }

// Plan makes exponents of what came since it was called last. It is for once a minute.
func (s *Sampler) Plan() {
	all := make([]*summary, len(s.shards))
	for i := range s.shards {
		d := &s.shards[i]
		d.mu.Lock()
		all[i], d.counts = d.counts, newSummary()
		d.seen.Store(0)
		d.mu.Unlock()
	}
	s.plan.Store(newPlan(merge(all), s.wanted.Load()))
}

// Sample implements tracing.Sampler.
func (s *Sampler) Sample(worker int, h *header.Map, c tracing.Context, had bool) tracing.Context {
	d := &s.shards[worker]
	d.mu.Lock()
	defer d.mu.Unlock()
	kind := appendKind(d.scratch[:0], h)
	d.scratch = kind
	d.counts.offer(kind)
	d.seen.Store(d.seen.Load() + 1)

	var state, told []byte
	sound := true
	if had {
		state, _ = h.Join(nil, keyTracestate)
		sound = entries(state, func(key, value []byte) {
			if told == nil && string(key) == s.key {
				told = value
			}
		})
	}
	if sound && told != nil {
		if t, ok := parseTag(told); ok {
			return decided(c, t)
		}
	}

	random := lb.Murmur2(appendTraceID(nil, c))
	t := tag{exponent: s.exponent(kind), path: uint8(random), reasons: adaptive, explained: true}
	t.ignored = random&(1<<t.exponent-1) != 0
	if !sound {
		state = nil
	}
	c.State = s.state(t, state)
	return decided(c, t)
}

func decided(c tracing.Context, t tag) tracing.Context {
	c.Note, c.Sampling = t.note(), tracing.Sampled
	if t.ignored {
		c.Sampling = tracing.NotSampled
	}
	return c
}

var keyTracestate = header.KeyOf("tracestate")

// appendKind writes the kind of a request: its method and its path, without what is behind "?".
func appendKind(dst []byte, h *header.Map) []byte {
	dst = append(append(dst, h.Value(header.Method)...), '_')
	path, _, _ := bytes.Cut(h.Value(header.Path), []byte{'?'})
	dst = append(dst, path...)
	return dst[:min(len(dst), longestKind)]
}

// exponent is that of a kind of requests. While there is no plan it grows with the requests.
func (s *Sampler) exponent(kind []byte) uint8 {
	if p := s.plan.Load(); p != nil {
		return p.exponent(kind)
	}
	half := uint64(s.wanted.Load() / 2)
	if half == 0 {
		return most
	}
	var seen uint64
	for i := range s.shards {
		seen += s.shards[i].seen.Load()
	}
	return uint8(min(seen/half, most))
}

// state is a tracestate with our entry first. As in Envoy there is none of ours in one that is full.
func (s *Sampler) state(t tag, old []byte) string {
	n := 0
	entries(old, func([]byte, []byte) { n++ })
	var out []byte
	if n < mostEntries {
		out = t.append(append(append(out, s.key...), '='))
	}
	entries(old, func(key, value []byte) {
		if string(key) == s.key {
			return
		}
		if len(out) > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, key...), '='), value...)
	})
	return string(out)
}

// appendTraceID writes a trace id as 32 digits.
func appendTraceID(dst []byte, c tracing.Context) []byte {
	if c.TraceHigh == 0 {
		dst = append(dst, "0000000000000000"...)
	}
	return c.AppendTraceID(dst)
}

// Attributes implements tracing.Sampler: of how many traces this one stands for all, what share is not recorded, in 2^-56, and why it is.
func (s *Sampler) Attributes(note uint32) []tracing.Attribute {
	t := ofNote(note)
	out := []tracing.Attribute{{Key: "supportability.atm_sampling_ratio", Int: 1 << t.exponent}}
	if t.exponent > 0 {
		out = append(out, tracing.Attribute{Key: "sampling.threshold", Int: 1<<56 - 1<<56>>t.exponent})
	}
	if t.explained {
		names := []string{}
		for i, name := range reasonNames {
			if t.reasons>>i&1 == 1 {
				names = append(names, name)
			}
		}
		if len(names) == 0 {
			names = append(names, "unknown")
		}
		out = append(out, tracing.Attribute{Key: "trace.capture.reasons", Texts: names})
	}
	return out
}
