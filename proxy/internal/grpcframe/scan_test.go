package grpcframe

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func frame(flag byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(body))), body...)
}

func TestFrames(t *testing.T) {
	all := bytes.Join([][]byte{frame(0, "one"), frame(1, ""), frame(0, "three"), frame(0x80, "x")}, nil)
	ends := map[int]bool{8: true, 13: true, 23: true, 29: true}
	for size := 1; size <= len(all); size++ { // however the bytes are cut
		var s Scanner
		began, at := 0, 0
		for rest := all; len(rest) > 0; {
			piece := rest[:min(size, len(rest))]
			rest = rest[len(piece):]
			for len(piece) > 0 {
				st := s.Advance(piece)
				if st.Bytes == 0 {
					t.Fatalf("size %d: stands still at %d", size, at)
				}
				at += st.Bytes
				piece = piece[st.Bytes:]
				if st.Began {
					began++
				}
				if st.Ended != ends[at] || s.Within() == ends[at] {
					t.Errorf("size %d: at %d ended %v, within %v", size, at, st.Ended, s.Within())
				}
			}
		}
		if began != 4 {
			t.Errorf("size %d: %d frames", size, began)
		}
	}
}

// TestLength: a length of 32 bits is taken as it is.
func TestLength(t *testing.T) {
	var s Scanner
	if n := s.Count([]byte{0, 0xff, 0xff, 0xff, 0xff, 'a', 0, 0, 0, 0, 0}); n != 1 || !s.Within() {
		t.Errorf("%d frames, within %v", n, s.Within())
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x01a"), 3)
	f.Fuzz(func(t *testing.T, p []byte, cut int) {
		cut = min(max(cut, 0), len(p))
		var whole, cutUp Scanner
		a := whole.Count(p)
		b := cutUp.Count(p[:cut])
		b += cutUp.Count(p[cut:])
		if a != b || whole != cutUp {
			t.Errorf("%q cut at %d: %d and %d frames, %v and %v", p, cut, a, b, whole, cutUp)
		}
	})
}
