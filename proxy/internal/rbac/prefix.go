package rbac

import (
	"maps"
	"slices"
	"strings"
)

// prefixes are the beginnings of paths by which policies are looked up, in order. Those of one path are the longest of them, the one that this begins with,
// and so on: a few steps, however many policies there are.
type prefixes []prefix

type prefix struct {
	text     string
	shorter  int // the longest other one that text begins with; -1: none
	policies []int
}

func newPrefixes(policies map[string][]int) prefixes {
	var out prefixes
	for _, text := range slices.Sorted(maps.Keys(policies)) {
		// What text begins with stands before it: the one before, or what that begins with.
		shorter := len(out) - 1
		for shorter >= 0 && !strings.HasPrefix(text, out[shorter].text) {
			shorter = out[shorter].shorter
		}
		out = append(out, prefix{text, shorter, policies[text]})
	}
	return out
}

// longest returns the index of the longest one that a path begins with, -1 for none.
func (ps prefixes) longest(path []byte) int {
	// The last that is not beyond the path: between a beginning of the path and the path stands only what begins like it.
	from, to := 0, len(ps)
	for from < to {
		if mid := (from + to) / 2; ps[mid].text <= string(path) {
			from = mid + 1
		} else {
			to = mid
		}
	}
	i := from - 1
	for i >= 0 && !(len(path) >= len(ps[i].text) && string(path[:len(ps[i].text)]) == ps[i].text) {
		i = ps[i].shorter
	}
	return i
}
