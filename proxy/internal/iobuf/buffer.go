package iobuf

// Buffer is a contiguous queue of bytes: appended at the end, drained at the front. Init it
// with a pool before use. The zero Buffer without Init takes its memory from the heap,
// which suits tests.
type Buffer struct {
	pool *Pool
	blk  *Block
	r, w int // unread bytes are blk.mem[r:w]
}

// Init sets the pool that memory comes from.
func (b *Buffer) Init(p *Pool) { b.pool = p }

// Pool is where the memory comes from, nil before Init.
func (b *Buffer) Pool() *Pool { return b.pool }

// Len is the number of unread bytes.
func (b *Buffer) Len() int { return b.w - b.r }

// Bytes returns the unread bytes, valid until the buffer is changed.
func (b *Buffer) Bytes() []byte {
	if b.blk == nil {
		return nil
	}
	return b.blk.mem[b.r:b.w]
}

// Cap is the size in bytes of the memory that the buffer holds.
func (b *Buffer) Cap() int {
	if b.blk == nil {
		return 0
	}
	return len(b.blk.mem)
}

// Drain drops n bytes from the front. When nothing is left the memory goes back to the
// pool. Draining more than Len is a bug and panics.
func (b *Buffer) Drain(n int) {
	if n < 0 || n > b.w-b.r {
		panic("BUG: iobuf: Drain beyond the end")
	}
	b.r += n
	if b.r == b.w {
		b.Reset()
	}
}

// Reset drops everything and gives the memory back.
func (b *Buffer) Reset() {
	if b.blk != nil {
		b.blk.Release()
		b.blk = nil
	}
	b.r, b.w = 0, 0
}

// Reserve returns free space of at least n bytes behind the unread bytes (more if the block
// has more). Fill it and call Commit. A Reserve that is not committed costs nothing lasting:
// call Commit(0) to give unused memory of an empty buffer back.
func (b *Buffer) Reserve(n int) []byte {
	if b.blk == nil || len(b.blk.mem)-b.w < n {
		b.grow(n)
	}
	return b.blk.mem[b.w:]
}

// Commit makes the first n bytes of the last Reserve unread bytes.
func (b *Buffer) Commit(n int) {
	if b.blk == nil || n < 0 || n > len(b.blk.mem)-b.w {
		if n == 0 {
			return
		}
		panic("BUG: iobuf: Commit without Reserve")
	}
	b.w += n
	if b.r == b.w {
		b.Reset()
	}
}

// Append copies p to the end.
func (b *Buffer) Append(p []byte) {
	if len(p) == 0 {
		return
	}
	if b.blk == nil || len(b.blk.mem)-b.w < len(p) {
		b.grow(len(p))
	}
	b.w += copy(b.blk.mem[b.w:], p)
}

// AppendString copies s to the end.
func (b *Buffer) AppendString(s string) {
	if len(s) == 0 {
		return
	}
	if b.blk == nil || len(b.blk.mem)-b.w < len(s) {
		b.grow(len(s))
	}
	b.w += copy(b.blk.mem[b.w:], s)
}

// AppendByte appends one byte.
func (b *Buffer) AppendByte(c byte) {
	if b.blk == nil || b.w == len(b.blk.mem) {
		b.grow(1)
	}
	b.blk.mem[b.w] = c
	b.w++
}

// Move appends all of src and empties it. When b is empty and both share a pool the block
// changes hands and nothing is copied.
func (b *Buffer) Move(src *Buffer) {
	if b.Len() == 0 && b.pool == src.pool {
		b.Reset()
		b.blk, b.r, b.w = src.blk, src.r, src.w
		src.blk, src.r, src.w = nil, 0, 0
		return
	}
	b.Append(src.Bytes())
	src.Reset()
}

// Take hands the first n bytes over in the block that holds them, without copying them; the
// rest moves to a fresh block. Slices into the taken bytes stay valid until the block is
// released, whatever happens to the buffer. Take(0) returns nil.
func (b *Buffer) Take(n int) *Block {
	if n < 0 || n > b.w-b.r {
		panic("BUG: iobuf: Take beyond the end")
	}
	if n == 0 {
		return nil
	}
	blk := b.blk
	taken := blk.mem[b.r : b.r+n : b.r+n]
	rest := blk.mem[b.r+n : b.w]
	b.blk, b.r, b.w = nil, 0, 0
	blk.bytes = taken
	if len(rest) > 0 {
		b.Append(rest)
	}
	return blk
}

// grow makes room for n more bytes: by moving the unread bytes to the front when the block
// is large enough and at least half of it is dead, else by a larger block.
func (b *Buffer) grow(n int) {
	have := b.w - b.r
	if b.blk != nil && have+n <= len(b.blk.mem) && b.r >= len(b.blk.mem)/2 {
		copy(b.blk.mem, b.blk.mem[b.r:b.w])
		b.r, b.w = 0, have
		return
	}
	need := have + n
	if b.blk != nil && need > 1<<maxClassBits {
		// Beyond the classes double, so that appending stays linear.
		if d := 2 * len(b.blk.mem); need < d {
			need = d
		}
	}
	if b.pool == nil {
		b.pool = new(Pool)
	}
	nb := b.pool.get(need)
	if b.blk != nil {
		copy(nb.mem, b.blk.mem[b.r:b.w])
		b.blk.Release()
	}
	b.blk, b.r, b.w = nb, 0, have
}
