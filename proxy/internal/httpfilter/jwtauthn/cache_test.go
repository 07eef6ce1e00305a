package jwtauthn

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/jwt"
)

// TestCacheModel runs random operations on a cache and on a list that does the same in the plainest
// way, with a clock that only moves forward.
func TestCacheModel(t *testing.T) {
	sets := []*jwt.KeySet{{}, {}}
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		c := &cache{max: 1 + rnd.IntN(5), maxToken: 4}
		var model []*verified // the latest used first
		now := uint64(1000)
		const skew = 3
		for range 300 {
			raw := fmt.Sprint(rnd.IntN(8))
			if rnd.IntN(20) == 0 {
				raw += "long"
			}
			keys := sets[rnd.IntN(10)/9]
			i := slices.IndexFunc(model, func(v *verified) bool { return v.raw == raw })
			switch rnd.IntN(5) {
			case 0:
				now += uint64(rnd.IntN(4))
			case 1, 2:
				v := &verified{raw: raw, keys: keys, token: &jwt.Token{Expires: now + uint64(rnd.IntN(20))}}
				c.put(v)
				if len(raw) > 4 {
					break
				}
				if i >= 0 {
					model = slices.Delete(model, i, i+1)
				} else if len(model) == c.max {
					model = model[:len(model)-1]
				}
				model = slices.Insert(model, 0, v)
			default:
				got := c.get([]byte(raw), keys, now, skew)
				var want *verified
				if i >= 0 {
					want = model[i]
					model = slices.Delete(model, i, i+1)
					if want.keys != keys || now > want.token.Expires+skew {
						want = nil
					} else {
						model = slices.Insert(model, 0, want)
					}
				}
				if got != want {
					t.Fatalf("seed %d: %v, want %v", seed, got, want)
				}
			}
			var order []*verified
			for v := c.newest; v != nil; v = v.older {
				order = append(order, v)
			}
			if !slices.Equal(order, model) || len(c.entries) != len(model) {
				t.Fatalf("seed %d: %d entries in %v, want %v", seed, len(c.entries), order, model)
			}
			for v := c.oldest; v != nil; v = v.newer {
				order = order[:len(order)-1]
			}
			if len(order) != 0 {
				t.Fatalf("seed %d: the list is not the same from its other end", seed)
			}
		}
	}
}
