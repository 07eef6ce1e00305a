// Package iobuf holds the byte buffers of a worker: size-classed blocks of memory from a
// free list that belongs to one event loop, and a contiguous, growable Buffer over them.
//
// Ownership. A Pool, every Buffer over it and every Block from it belong to one event loop
// and are touched only there; nothing here is locked. A Buffer owns at most one Block. The
// slice that Bytes or Reserve returns is valid until the next call that changes the Buffer.
// Take hands the Block over to the caller, who calls Release exactly once when no slice
// into it is used any more. An empty Buffer owns no Block, so an idle connection costs no
// buffer memory.
//
// It does no I/O and knows no protocol. Packages of the data path may import it; it imports
// none of them.
package iobuf
