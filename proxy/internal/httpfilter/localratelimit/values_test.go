package localratelimit

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/tokenbucket"
)

var slow = tokenbucket.Limit{Max: 1, PerFill: 1, Interval: time.Hour}

func entries(s string) []route.DescriptorEntry { return []route.DescriptorEntry{{Key: "k", Value: s}} }

// TestValuesModel holds the values against a list in the order of use.
func TestValuesModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{1, 2, 3, 10} {
		v := newValues(size)
		var used []string // the last one first
		buckets := map[string]*tokenbucket.Bucket{}
		for range 5000 {
			name := strconv.Itoa(r.IntN(2*size + 1))
			got := v.get(entries(name), slow)
			if i := slices.Index(used, name); i >= 0 {
				if got != buckets[name] {
					t.Fatalf("size %d: %s has another bucket", size, name)
				}
				used = slices.Delete(used, i, i+1)
			} else {
				if got == buckets[name] {
					t.Fatalf("size %d: %s was to be forgotten", size, name)
				}
				if len(used) == size {
					used = used[:size-1]
				}
			}
			buckets[name] = got
			used = slices.Insert(used, 0, name)
			i := 0
			for x := v.first; x != nil; x = x.next {
				if want := string(appendKey(nil, entries(used[i]))); x.key != want || v.m[want] != x {
					t.Fatalf("size %d: at %d stands %q", size, i, x.key)
				}
				if x.next == nil && v.last != x {
					t.Fatalf("size %d: the last one is another", size)
				}
				i++
			}
			if i != len(used) || len(v.m) != i {
				t.Fatalf("size %d: %d values in order, %d by name, want %d", size, i, len(v.m), len(used))
			}
		}
	}
}

// TestValuesShared: workers that meet the same values share their tokens.
func TestValuesShared(t *testing.T) {
	v := newValues(50)
	var mu sync.Mutex
	taken := map[string]int{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 1000 {
				name := strconv.Itoa(i % 50)
				if v.get(entries(name), slow).Take(1) {
					mu.Lock()
					taken[name]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for name, n := range taken {
		if n != 1 {
			t.Errorf("%s: %d tokens of one", name, n)
		}
	}
	if len(taken) != 50 {
		t.Errorf("%d values", len(taken))
	}
}
