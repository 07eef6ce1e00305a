package compression

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// body is compressible, but not trivial.
func body(r *rand.Rand, n int) []byte {
	words := [][]byte{[]byte("route "), []byte("cluster "), []byte("listener "), []byte("\n")}
	var b []byte
	for len(b) < n {
		b = append(b, words[r.IntN(4)]...)
		if r.IntN(10) == 0 {
			b = append(b, byte(r.IntN(256)))
		}
	}
	return b[:n]
}

// TestRoundTrip: whatever the pieces, in both directions, the body is the same, and each piece
// that was compressed can be read at once.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, e := range []Encoding{Gzip, Brotli, Zstd} {
		pool := NewPool(Settings{Encoding: e, Checksum: true})
		for range 40 {
			want := body(r, r.IntN(100_000))
			enc, err := pool.Get()
			if err != nil {
				t.Fatal(err)
			}
			dec := NewDecoder(e, &Room{})
			var got []byte
			emit := func(p []byte) { got = append(got, p...) }
			for rest := want; ; {
				n := min(len(rest), 1+r.IntN(20_000))
				end := n == len(rest)
				p, err := enc.Encode(rest[:n], end)
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
				for len(p) > 0 {
					k := min(len(p), 1+r.IntN(5000))
					if err := dec.Decode(p[:k], end && k == len(p), emit); err != nil {
						t.Fatalf("%s: %v", e, err)
					}
					p = p[k:]
				}
				if !bytes.Equal(got, want[:len(want)-len(rest)]) {
					t.Fatalf("%s: after %d bytes %d came out", e, len(want)-len(rest), len(got))
				}
				if end {
					break
				}
			}
			enc.Release()
			dec.Close()
		}
		if len(pool.free) != 1 {
			t.Errorf("%s: %d encoders were kept", e, len(pool.free))
		}
	}
}

func TestBadBodies(t *testing.T) {
	for _, e := range []Encoding{Gzip, Brotli, Zstd} {
		bomb := func() []byte {
			enc, _ := NewPool(Settings{Encoding: e}).Get()
			b, err := enc.Encode(make([]byte, 20<<20), true)
			if err != nil {
				t.Fatal(err)
			}
			return bytes.Clone(b)
		}()
		d := NewDecoder(e, &Room{})
		n := 0
		if err := d.Decode(bomb, true, func(p []byte) { n += len(p) }); !errors.Is(err, ErrRatio) || n > 10<<20 {
			t.Errorf("%s: a bomb of %d bytes became %d: %v", e, len(bomb), n, err)
		}
		d.Close()
		d, n = NewDecoder(e, &Room{}), 0
		d.MaxRatio = 1 << 31
		if err := d.Decode(bomb, true, func(p []byte) { n += len(p) }); err != nil || n != 20<<20 {
			t.Errorf("%s: a body of %d bytes whose ratio is allowed became %d: %v", e, len(bomb), n, err)
		}
		d.Close()
		for name, b := range map[string][]byte{"cut": bomb[:len(bomb)/2], "none": nil, "garbage": []byte("this is not compressed at all")} {
			if e == Zstd && name == "none" {
				continue // no frames are an empty body
			}
			d := NewDecoder(e, &Room{})
			if err := d.Decode(b, true, func([]byte) {}); err == nil {
				t.Errorf("%s: %s was accepted", e, name)
			}
			d.Close()
		}
		NewDecoder(e, &Room{}).Close() // never used
	}
}
