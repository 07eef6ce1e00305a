package localratelimit

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/tokenbucket"
)

func descriptors(n int) []route.Descriptor {
	out := make([]route.Descriptor, n)
	for i := range out {
		out[i].Entries = []route.DescriptorEntry{{Key: "client", Value: strconv.Itoa(i)}}
	}
	return out
}

// BenchmarkNewValue is a client that never sends the same value twice: each pushes another out.
func BenchmarkNewValue(b *testing.B) {
	limit := tokenbucket.Limit{Max: 10, PerFill: 1, Interval: time.Second}
	for _, size := range []int{20, 1000, 20000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			v := newValues(size)
			ds := descriptors(2 * size)
			b.ReportAllocs()
			now := int64(0)
			for b.Loop() {
				now++
				v.get(ds[now%int64(len(ds))].Entries, limit)
			}
		})
	}
}

// BenchmarkKnownValue is two workers that meet the same few values.
func BenchmarkKnownValue(b *testing.B) {
	limit := tokenbucket.Limit{Max: 10, PerFill: 1, Interval: time.Second}
	v := newValues(20)
	ds := descriptors(20)
	var now atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		n := now.Add(7)
		for pb.Next() {
			n++
			v.get(ds[n%int64(len(ds))].Entries, limit)
		}
	})
}
