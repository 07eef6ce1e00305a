package localratelimit

import (
	"sync/atomic"

	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/tokenbucket"
)

// limiter is a set of live buckets: one for each configuration, or for each connection.
type limiter struct {
	rules       *rules
	bucket      *tokenbucket.Bucket // nil: no limit
	descriptors []descriptor
}

type descriptor struct {
	*rule
	bucket *tokenbucket.Bucket // nil: dynamic
	values *values
}

func newLimiter(r *rules) *limiter {
	l := &limiter{rules: r}
	if r.bucket != nil {
		l.bucket = tokenbucket.New(*r.bucket)
	}
	for i := range r.descriptors {
		d := descriptor{rule: &r.descriptors[i]}
		if d.dynamic {
			d.values = newValues(r.maxDynamic)
		} else {
			d.bucket = tokenbucket.New(d.limit)
		}
		l.descriptors = append(l.descriptors, d)
	}
	return l
}

// verdict is what the buckets say of a request.
type verdict struct {
	limited bool
	shadow  bool                // a descriptor in shadow mode would have limited it
	bucket  *tokenbucket.Bucket // whose state the headers tell; nil for none
}

// take asks the buckets of a request's descriptors, and the default one.
func (l *limiter) take(now int64, request []route.Descriptor) verdict {
	var v verdict
	matched := false
	for i := range l.descriptors {
		d := &l.descriptors[i]
		b := d.find(now, request)
		if b == nil {
			continue
		}
		matched = true
		if v.bucket == nil {
			v.bucket = b
		}
		if b.Take(now) {
			continue
		}
		if !d.shadow {
			return verdict{limited: true, shadow: v.shadow, bucket: b}
		}
		v.shadow = true
	}
	if l.bucket == nil || matched && !l.rules.alwaysDefault {
		return v
	}
	if v.bucket == nil {
		v.bucket = l.bucket
	}
	if !l.bucket.Take(now) {
		v.limited, v.bucket = true, l.bucket
	}
	return v
}

// find returns the bucket of the first of the request's descriptors that this one is about.
func (d *descriptor) find(now int64, request []route.Descriptor) *tokenbucket.Bucket {
	for _, r := range request {
		if !d.about(r) {
			continue
		}
		if d.bucket != nil {
			return d.bucket
		}
		return d.values.get(now, r, d.limit)
	}
	return nil
}

func (d *descriptor) about(r route.Descriptor) bool {
	if len(r) != len(d.entries) {
		return false
	}
	for i, e := range d.entries {
		if r[i].Key != e.Key || e.Value != "" && r[i].Value != e.Value {
			return false
		}
	}
	return true
}

// values holds a bucket for each value that was seen, up to a number: then the one that was not
// asked for longest makes room. The map is replaced, never changed, so that workers read it without
// waiting.
type values struct {
	max int
	m   atomic.Pointer[map[string]*value]
}

type value struct {
	*tokenbucket.Bucket
	used atomic.Int64
}

func newValues(n int) *values {
	v := &values{max: max(n, 1)}
	v.m.Store(&map[string]*value{})
	return v
}

func (v *values) get(now int64, r route.Descriptor, l tokenbucket.Limit) *tokenbucket.Bucket {
	var buf [128]byte
	key := appendKey(buf[:0], r)
	for {
		old := v.m.Load()
		if x := (*old)[string(key)]; x != nil {
			x.used.Store(now)
			return x.Bucket
		}
		next := make(map[string]*value, len(*old)+1)
		oldest, at := "", int64(1<<63-1)
		for k, x := range *old {
			next[k] = x
			if u := x.used.Load(); u < at {
				oldest, at = k, u
			}
		}
		if len(next) >= v.max {
			delete(next, oldest)
		}
		x := &value{Bucket: tokenbucket.New(l)}
		x.used.Store(now)
		next[string(key)] = x
		if v.m.CompareAndSwap(old, &next) {
			return x.Bucket
		}
	}
}

// appendKey writes a descriptor so that no two are written the same: no length is ambiguous.
func appendKey(dst []byte, r route.Descriptor) []byte {
	for _, e := range r {
		for _, s := range [...]string{e.Key, e.Value} {
			n := len(s)
			dst = append(dst, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
			dst = append(dst, s...)
		}
	}
	return dst
}
