package localratelimit

import (
	"sync"

	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/tokenbucket"
)

// values holds a bucket for each value that was seen, up to a number: then the one that was not
// asked for longest makes room. Clients choose the values, so one that never sends the same twice must
// not cost more than another: finding a bucket, and making room, takes the same time however many
// there are.
//
// Every request changes the order, so all workers take turns. What is done meanwhile is an access of a
// map and six pointers: nothing waits long, and only who configures an empty value pays.
type values struct {
	max int

	mu          sync.Mutex
	m           map[string]*value
	first, last *value // in the order of use
}

type value struct {
	*tokenbucket.Bucket
	key        string
	prev, next *value
}

func newValues(n int) *values { return &values{max: max(n, 1), m: map[string]*value{}} }

// get returns the bucket of a descriptor's values, made when they are new.
func (v *values) get(entries []route.DescriptorEntry, l tokenbucket.Limit) *tokenbucket.Bucket {
	var buf [128]byte
	key := appendKey(buf[:0], entries)
	v.mu.Lock()
	defer v.mu.Unlock()
	x := v.m[string(key)]
	switch {
	case x == nil:
		x = &value{Bucket: tokenbucket.New(l), key: string(key)}
		if len(v.m) >= v.max {
			delete(v.m, v.last.key)
			v.remove(v.last)
		}
		v.m[x.key] = x
	case x == v.first:
		return x.Bucket
	default:
		v.remove(x)
	}
	v.pushFront(x)
	return x.Bucket
}

func (v *values) remove(x *value) {
	if x.prev != nil {
		x.prev.next = x.next
	} else {
		v.first = x.next
	}
	if x.next != nil {
		x.next.prev = x.prev
	} else {
		v.last = x.prev
	}
	x.prev, x.next = nil, nil
}

func (v *values) pushFront(x *value) {
	x.next = v.first
	if v.first != nil {
		v.first.prev = x
	} else {
		v.last = x
	}
	v.first = x
}

// appendKey writes a descriptor so that no two are written the same: no length is ambiguous.
func appendKey(dst []byte, r []route.DescriptorEntry) []byte {
	for _, e := range r {
		for _, s := range [...]string{e.Key, e.Value} {
			n := len(s)
			dst = append(dst, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
			dst = append(dst, s...)
		}
	}
	return dst
}
