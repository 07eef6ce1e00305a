package transportsocket

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestFramer gives random records out in random pieces: the bytes are the same, and no piece
// spans two records.
func TestFramer(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var stream []byte
		ends := map[int]bool{}
		for range 20 {
			n := rnd.IntN(1 << rnd.IntN(10))
			stream = append(stream, 23, 3, 3, byte(n>>8), byte(n))
			for range n {
				stream = append(stream, byte(rnd.Uint32()))
			}
			ends[len(stream)] = true
		}
		var f framer
		var out []byte
		for at := 0; at < len(stream); {
			b := stream[at:min(len(stream), at+1+rnd.IntN(300))]
			p := make([]byte, 1+rnd.IntN(600))
			n := f.take(p, b)
			if n == 0 {
				t.Fatalf("seed %d: nothing given out", seed)
			}
			for i := at + 1; i < at+n; i++ {
				// An empty record ends where its header does, which is given out whole.
				if ends[i] && i != at {
					t.Fatalf("seed %d: a piece spans the record's end at %d", seed, i)
				}
			}
			out = append(out, p[:n]...)
			at += n
		}
		if !bytes.Equal(out, stream) {
			t.Fatalf("seed %d: the bytes differ", seed)
		}
	}
}
