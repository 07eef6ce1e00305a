package iobuf

import "math/bits"

// Size classes are powers of four from 1 KiB to 1 MiB: reads of small messages, one TLS
// record or read, a large read, a full watermark. What is larger comes from the heap and
// goes back to it.
const (
	minClassBits = 10
	maxClassBits = 20
	classStep    = 2
	numClasses   = (maxClassBits-minClassBits)/classStep + 1

	// maxFreePerClass bounds what a class's free list keeps, in bytes. What is released
	// beyond it is left to the garbage collector, so that a burst does not stay resident.
	maxFreePerClass = 4 << 20
)

// Block is a piece of memory handed out by a Pool. See the package comment for who owns it.
type Block struct {
	mem   []byte
	bytes []byte // what Take handed over
	next  *Block
	pool  *Pool // nil while free
	class int8  // -1: from the heap
}

// Bytes returns the bytes that Take handed over.
func (b *Block) Bytes() []byte { return b.bytes }

// Release gives the block back. Releasing twice is a bug and panics. A nil block is
// allowed, so that an empty Take needs no special case.
func (b *Block) Release() {
	if b == nil {
		return
	}
	p := b.pool
	if p == nil {
		panic("BUG: iobuf: block released twice")
	}
	b.pool, b.bytes = nil, nil
	p.inUse -= len(b.mem)
	if b.class < 0 {
		return
	}
	if l := &p.free[b.class]; l.bytes < maxFreePerClass {
		b.next = l.head
		l.head = b
		l.bytes += len(b.mem)
		p.idle += len(b.mem)
	}
}

type freeList struct {
	head  *Block
	bytes int
}

// Pool is the free lists of one event loop. The zero value is ready.
type Pool struct {
	free  [numClasses]freeList
	inUse int
	idle  int // bytes in the free lists
}

// InUse is the size in bytes of the blocks that are handed out.
func (p *Pool) InUse() int { return p.inUse }

// Free is the size in bytes of the blocks that wait in the free lists.
func (p *Pool) Free() int { return p.idle }

// Trim drops all free blocks. The event loop calls it when it has been idle for long.
func (p *Pool) Trim() {
	p.free = [numClasses]freeList{}
	p.idle = 0
}

// classOf returns the class whose blocks hold n bytes, or -1 for the heap.
func classOf(n int) int {
	if n <= 1<<minClassBits {
		return 0
	}
	if n > 1<<maxClassBits {
		return -1
	}
	return (bits.Len(uint(n-1)) - minClassBits + classStep - 1) / classStep
}

// get returns a block of at least n bytes. Its content is undefined.
func (p *Pool) get(n int) *Block {
	c := classOf(n)
	if c < 0 {
		b := &Block{mem: make([]byte, n), pool: p, class: -1}
		p.inUse += n
		return b
	}
	l := &p.free[c]
	b := l.head
	if b != nil {
		l.head = b.next
		l.bytes -= len(b.mem)
		p.idle -= len(b.mem)
		b.next = nil
		b.pool = p
	} else {
		b = &Block{mem: make([]byte, 1<<(minClassBits+c*classStep)), pool: p, class: int8(c)}
	}
	p.inUse += len(b.mem)
	return b
}
