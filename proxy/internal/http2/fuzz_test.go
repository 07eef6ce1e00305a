package http2

import (
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// FuzzServer feeds anything to a server, twice: whole, and cut into pieces. Both must come to the same, within bounds.
func FuzzServer(f *testing.F) {
	for _, tt := range hostile {
		if len(tt.input) < 4000 {
			f.Add([]byte(tt.input), uint8(3))
		}
	}
	f.Fuzz(func(t *testing.T, p []byte, cut uint8) {
		run := func(size int) (string, string) {
			cfg := hostileConfig()
			cfg.AllowConnect = true
			c, o := start(t, cfg)
			pieces := map[uint32]int{}
			o.onData = func(s *Stream, p []byte, end bool) {
				pieces[s.ID] += len(p)
				if s.ID%4 == 1 {
					s.Pause()
				}
			}
			o.onHead = func(s *Stream, _ bool) {
				if s.ID%8 == 3 {
					c.SendHeaders(s, mapOf(":status 200"), false)
					c.SendData(s, make([]byte, 300), true)
					c.Detach(s, 1)
				}
			}
			for in := p; len(in) > 0 && c.failure == nil; {
				n := min(size, len(in))
				_ = c.Feed(append([]byte(nil), in[:n]...), 2)
				in = in[n:]
			}
			if c.Streams() > int(c.lim.streams) {
				t.Fatalf("%d streams", c.Streams())
			}
			if c.part.Len() > ourFrameSize+frameHeaderLen || c.block.buf.Len() > blockFactor*c.lim.headerBytes+ourFrameSize {
				t.Fatalf("keeps %d and %d bytes", c.part.Len(), c.block.buf.Len())
			}
			for id, n := range pieces {
				if n > 1<<20 {
					t.Fatalf("%d bytes on stream %d", n, id)
				}
			}
			verdict := "ok"
			if c.failure != nil {
				verdict = c.failure.Error()
			}
			sent := string(pull(c))
			c.Free()
			return verdict, sent
		}
		v1, s1 := run(len(p) + 1)
		v2, s2 := run(int(cut%64) + 1)
		if v1 != v2 {
			t.Fatalf("whole: %s; in pieces: %s", v1, v2)
		}
		if s1 != s2 {
			t.Fatalf("what is sent depends on how the bytes come:\n%x\n%x", s1, s2)
		}
	})
}

// FuzzClient feeds anything to a client that has streams open.
func FuzzClient(f *testing.F) {
	f.Add([]byte(headers(1, eh, block(":status 200"))+data(1, es, "x")), uint8(9))
	f.Add([]byte(headers(1, eh, block(":status 103"))+headers(1, eh|es, block(":status 200"))), uint8(1))
	f.Add([]byte(frameOf(frameGoAway, 0, 0, u32(1)+u32(0))), uint8(2))
	f.Add([]byte(frameOf(frameRSTStream, 0, 3, u32(7))), uint8(2))
	f.Fuzz(func(t *testing.T, p []byte, cut uint8) {
		c, o := start(t, &Config{StreamErrors: cut%2 == 0})
		for id := uint32(1); id < 9; id += 2 {
			m := o.mapsOf(id)
			s := c.Open(mapOf(":method POST", ":scheme http", ":path /", ":authority a"), false, &m[0], &m[1], nil, nil, 2)
			c.SendData(s, make([]byte, 100), id == 5)
		}
		for len(p) > 0 && c.failure == nil {
			n := min(int(cut%64)+1, len(p))
			_ = c.Feed(append([]byte(nil), p[:n]...), 2)
			p = p[n:]
		}
		var out iobuf.Buffer
		c.Pull(&out, 1<<20)
		c.Free()
		if c.count != 0 {
			t.Fatal("streams are left")
		}
	})
}
