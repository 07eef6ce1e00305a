package localratelimit

import (
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/tokenbucket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
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
	headers xdsresource.RateLimitHeaders
}

// take asks the buckets of a request's descriptors, and the default one.
func (l *limiter) take(now int64, request []route.Descriptor) verdict {
	var v verdict
	matched := false
	for i := range l.descriptors {
		d := &l.descriptors[i]
		b, r := d.find(request)
		if b == nil {
			continue
		}
		matched = true
		if v.bucket == nil {
			v.bucket, v.headers = b, r.Headers
		}
		if take(b, now, r) {
			continue
		}
		if !d.shadow {
			return verdict{limited: true, shadow: v.shadow, bucket: b, headers: r.Headers}
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
		v.limited, v.bucket, v.headers = true, l.bucket, xdsresource.RateLimitHeadersDefault
	}
	return v
}

// take takes a request's tokens. One that wants none gets none, as in Envoy.
func take(b *tokenbucket.Bucket, now int64, r *route.Descriptor) bool {
	if r.HasHits {
		return r.Hits > 0 && b.TakeN(now, r.Hits)
	}
	return b.Take(now)
}

// find returns the first of the request's descriptors that this one is about, with its bucket.
func (d *descriptor) find(request []route.Descriptor) (*tokenbucket.Bucket, *route.Descriptor) {
	for i := range request {
		r := &request[i]
		if !d.about(r) {
			continue
		}
		if d.bucket != nil {
			return d.bucket, r
		}
		return d.values.get(r.Entries, d.limit), r
	}
	return nil, nil
}

func (d *descriptor) about(r *route.Descriptor) bool {
	if len(r.Entries) != len(d.entries) || r.NegativeHits { // nothing is given back here
		return false
	}
	for i, e := range d.entries {
		if r.Entries[i].Key != e.Key || e.Value != "" && r.Entries[i].Value != e.Value {
			return false
		}
	}
	return true
}
