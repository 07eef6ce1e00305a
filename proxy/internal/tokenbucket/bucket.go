// Package tokenbucket is the bucket of the local rate limit filters, HTTP and network.
//
// A limit holds for the process, as in Envoy, so its bucket is shared by all workers. It is one
// atomic number, and one compare-and-swap for each request that is limited: who configures a limit
// pays for it, nobody waits for another worker, and a request that meets no limit touches nothing
// shared. Splitting the tokens between workers would need none of that, and would refuse requests
// while tokens are left, because the kernel spreads connections unevenly.
//
// It reads no clock and knows no filter. Filters may import it.
package tokenbucket

import (
	"math"
	"sync/atomic"
	"time"
)

// Limit is a validated type.v3.TokenBucket.
type Limit struct {
	Max      uint32        // tokens, at least 1
	PerFill  uint32        // default 1
	Interval time.Duration // of a fill
}

// Bucket fills continuously: PerFill tokens within an Interval.
type Bucket struct {
	limit Limit
	token int64 // nanoseconds for one token
	full  int64 // and for all of them
	// empty is when the bucket would have been empty for it to hold now what it holds.
	empty atomic.Int64
}

const century = 100 * 365 * 24 * int64(time.Hour)

// New returns a full bucket.
func New(l Limit) *Bucket {
	// A bucket that takes longer than a century to fill is as good as one of a century: with more,
	// sums of times would overflow.
	b := &Bucket{limit: l, token: min(max(int64(l.Interval)/int64(max(l.PerFill, 1)), 1), century)}
	b.full = b.token * min(int64(l.Max), century/b.token)
	b.empty.Store(math.MinInt64)
	return b
}

// floor is the earliest time of emptiness that counts: the bucket holds no more than Max.
func (b *Bucket) floor(now int64) int64 { return now - b.full }

// Take takes a token; false when there is none. now is in nanoseconds, from one clock for all
// callers.
func (b *Bucket) Take(now int64) bool { return b.TakeN(now, 1) }

// TakeN takes so many tokens, or none.
func (b *Bucket) TakeN(now int64, n uint64) bool {
	if n > uint64(b.full/b.token) {
		return false
	}
	for {
		old := b.empty.Load()
		next := max(old, b.floor(now)) + int64(n)*b.token
		if next > now {
			return false
		}
		if b.empty.CompareAndSwap(old, next) {
			return true
		}
	}
}

// Left is the number of whole tokens.
func (b *Bucket) Left(now int64) uint64 {
	return uint64(max(now-max(b.empty.Load(), b.floor(now)), 0) / b.token)
}

// Max is the size of the bucket.
func (b *Bucket) Max() uint64 { return uint64(b.limit.Max) }

// Wait is how long it takes until there is a token; 0 when there is one.
func (b *Bucket) Wait(now int64) time.Duration {
	return time.Duration(max(max(b.empty.Load(), b.floor(now))+b.token-now, 0))
}
