package iobuf

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestClassOf(t *testing.T) {
	for _, c := range []struct{ n, class int }{
		{0, 0}, {1, 0}, {1024, 0}, {1025, 1}, {4096, 1}, {4097, 2}, {16384, 2}, {16385, 3},
		{65536, 3}, {65537, 4}, {262144, 4}, {262145, 5}, {1 << 20, 5}, {1<<20 + 1, -1},
	} {
		if got := classOf(c.n); got != c.class {
			t.Errorf("classOf(%d) = %d, want %d", c.n, got, c.class)
		}
	}
}

// TestBufferModel runs random operations on a Buffer and on a plain slice and compares.
func TestBufferModel(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var pool Pool
		var b, other Buffer
		b.Init(&pool)
		other.Init(&pool)
		var model []byte
		type held struct {
			blk  *Block
			want []byte
		}
		var taken []held
		data := func() []byte {
			p := make([]byte, rnd.IntN(1<<rnd.IntN(16)+1))
			for i := range p {
				p[i] = byte(rnd.Uint32())
			}
			return p
		}
		for range 200 {
			switch rnd.IntN(9) {
			case 0:
				p := data()
				b.Append(p)
				model = append(model, p...)
			case 1:
				p := data()
				b.AppendString(string(p))
				model = append(model, p...)
			case 2:
				p := data()
				s := b.Reserve(len(p))
				if len(s) < len(p) {
					t.Fatalf("Reserve(%d) gave %d", len(p), len(s))
				}
				n := copy(s, p)
				n = rnd.IntN(n + 1)
				b.Commit(n)
				model = append(model, p[:n]...)
			case 3:
				n := rnd.IntN(len(model) + 1)
				b.Drain(n)
				model = model[n:]
			case 4:
				n := rnd.IntN(len(model) + 1)
				want := bytes.Clone(model[:n])
				blk := b.Take(n)
				if n > 0 {
					taken = append(taken, held{blk, want})
				}
				model = model[n:]
			case 5:
				if len(taken) > 0 {
					h := taken[0]
					taken = taken[1:]
					if !bytes.Equal(h.blk.Bytes(), h.want) {
						t.Fatal("taken bytes changed")
					}
					h.blk.Release()
				}
			case 6:
				b.AppendByte('x')
				model = append(model, 'x')
			case 7:
				p := data()
				other.Append(p)
				b.Move(&other)
				model = append(model, p...)
				if other.Len() != 0 || other.Cap() != 0 {
					t.Fatal("Move left something behind")
				}
			case 8:
				if rnd.IntN(10) == 0 {
					b.Reset()
					model = nil
				}
			}
			if b.Len() != len(model) || !bytes.Equal(b.Bytes(), model) {
				t.Fatalf("seed %d: buffer and model differ", seed)
			}
			if b.Len() == 0 && b.Cap() != 0 {
				t.Fatal("an empty buffer holds memory")
			}
		}
		b.Reset()
		for _, h := range taken {
			if !bytes.Equal(h.blk.Bytes(), h.want) {
				t.Fatal("taken bytes changed")
			}
			h.blk.Release()
		}
		if pool.InUse() != 0 {
			t.Fatalf("seed %d: %d bytes leaked", seed, pool.InUse())
		}
		sum := 0
		for i := range pool.free {
			sum += pool.free[i].bytes
		}
		if free := pool.Free(); free != sum {
			t.Fatalf("Free says %d, the lists hold %d", free, sum)
		} else if free > numClasses*(maxFreePerClass+1<<maxClassBits) {
			t.Fatalf("free lists hold %d", free)
		}
	}
}

func TestReleaseTwicePanics(t *testing.T) {
	var b Buffer
	b.Append([]byte("x"))
	blk := b.Take(1)
	blk.Release()
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	blk.Release()
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	var pool Pool
	var b Buffer
	b.Init(&pool)
	msg := make([]byte, 300)
	run := func() {
		copy(b.Reserve(16384), msg)
		b.Commit(300)
		blk := b.Take(200)
		b.Drain(100)
		blk.Release()
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkReadTakeRelease(b *testing.B) {
	var pool Pool
	var buf Buffer
	buf.Init(&pool)
	for b.Loop() {
		buf.Reserve(16384)
		buf.Commit(300)
		buf.Take(300).Release()
	}
}
