package tap

import (
	"bytes"
	"testing"
)

// FuzzText: how a body comes in pieces makes no difference to what is found in it.
func FuzzText(f *testing.F) {
	f.Add([]byte("hello world"), []byte("lo w"), []byte("d"), uint64(0), 3, 4)
	f.Add([]byte("aaaaaab"), []byte("aab"), []byte("aaa"), uint64(6), 1, 5)
	f.Fuzz(func(t *testing.T, body, one, two []byte, limit uint64, cut, next int) {
		if len(one) == 0 || len(two) == 0 {
			return // refused when read
		}
		m := &textMatch{limit: limit, patterns: [][]byte{one, two}, overlap: max(len(one), len(two)) - 1}
		seen := body
		if limit > 0 {
			seen = body[:min(uint64(len(body)), limit)]
		}
		want := bytes.Contains(seen, one) && bytes.Contains(seen, two)
		s := search{found: make([]bool, 2), tail: make([]byte, 0, 2*m.overlap)}
		got := false
		cut = min(max(cut, 0), len(body))
		next = min(max(next, cut), len(body))
		for _, p := range [][]byte{body[:cut], body[cut:next], body[next:]} {
			got = s.piece(m, p) || got
		}
		if got != want {
			t.Errorf("%q in pieces at %d and %d, limit %d: %q and %q found: %v", body, cut, next, limit, one, two, got)
		}
	})
}

// TestLongBody: the search keeps no more than a pattern's length.
func TestLongBody(t *testing.T) {
	m := &textMatch{patterns: [][]byte{[]byte("needle")}, overlap: 5}
	s := search{found: make([]bool, 1), tail: make([]byte, 0, 10)}
	piece := bytes.Repeat([]byte("need"), 1000)
	for range 100 {
		if s.piece(m, piece) || cap(s.tail) > 10 {
			t.Fatalf("found, or %d bytes kept", cap(s.tail))
		}
	}
	if !s.piece(m, []byte("le")) {
		t.Error("not found across pieces")
	}
}
