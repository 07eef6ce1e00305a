package snapshot

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestVIPIsByName(t *testing.T) {
	v := newVIPs()
	v.set("shop/api.example", time.Time{}, true)
	if got := v.addresses("shop/api.example"); !slices.Equal(got, []string{"240.240.91.119", "2001:2::f0f0:5b77"}) {
		t.Errorf("got %v", got)
	}
	if got := v.addresses("shop/other.example"); got != nil {
		t.Errorf("an unknown host has %v", got)
	}
}

// TestVIPsDoNotDependOnHistory holds after each of many random changes that every host has the
// address that it has when all are placed by age, and that all moves were told.
func TestVIPsDoNotDependOnHistory(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	keys := colliding(60)
	v := newVIPs()
	living := map[string]time.Time{}
	seen := map[string]string{}
	for range 1000 {
		k := keys[rnd.IntN(len(keys))]
		_, lives := living[k]
		var changed []string
		if lives && rnd.IntN(3) > 0 {
			delete(living, k)
			changed = v.set(k, time.Time{}, false)
		} else {
			living[k] = time.Unix(rnd.Int64N(20), 0)
			changed = v.set(k, living[k], true)
		}
		for _, c := range changed {
			seen[c] = fmt.Sprint(v.addresses(c))
		}
		fresh := newVIPs()
		order := sortedKeys(living)
		slices.SortFunc(order, func(a, b string) int {
			return (&claim{key: a, created: living[a]}).compare(&claim{key: b, created: living[b]})
		})
		taken := map[string]bool{}
		for _, key := range order {
			fresh.set(key, living[key], true)
			want, got := fmt.Sprint(fresh.addresses(key)), fmt.Sprint(v.addresses(key))
			if got != want {
				t.Fatalf("%s has %s, by age %s", key, got, want)
			}
			if taken[got] {
				t.Fatalf("%s comes twice", got)
			}
			taken[got] = true
			if seen[key] != got {
				t.Fatalf("%s has %s, told was %s", key, got, seen[key])
			}
		}
	}
	for _, key := range sortedKeys(living) {
		v.set(key, time.Time{}, false)
	}
	if len(v.slots)+len(v.claims) != 0 {
		t.Errorf("%d slots and %d claims are left of nothing", len(v.slots), len(v.claims))
	}
}

// colliding returns keys of which most share their first slot with others.
func colliding(n int) []string {
	bySlot := map[uint32][]string{}
	var out []string
	for i := 0; len(out) < n; i++ {
		key := fmt.Sprint("shop/", i, ".example")
		h := fnv.New32a()
		h.Write([]byte(key))
		c := claim{hash: h.Sum32()}
		first := c.slot(0)
		bySlot[first] = append(bySlot[first], key)
		if len(bySlot[first]) == 4 {
			out = append(out, bySlot[first]...)
		}
	}
	return out
}
