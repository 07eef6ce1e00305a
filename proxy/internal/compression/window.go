package compression

import (
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// A body says how much of what it has become may be referred to again, its window, and the library
// allocates as much at once: a few bytes would hold megabytes for as long as the sender likes. So the
// windows of a worker's bodies share a Room.
const (
	maxZstd    = 8 << 20 // RFC 9659, 3: senders must not ask for more
	leastZstd  = 1 << 20 // is reserved in any case: a later frame of the body may ask for as much
	gzipWindow = 64 << 10
	// maxRoom lets 31 bodies with the largest window that zstd may have be open at a time, and some
	// 250 with that of its first levels.
	maxRoom = 256 << 20
)

// ErrNoRoom is returned for a body for whose window there is no room.
var ErrNoRoom = errors.New("the windows of the bodies that are being decompressed take all the room there is for them")

// Room is how many bytes windows may take. It belongs to one event loop; the zero Room is empty.
type Room struct{ taken int }

func (r *Room) take(n int) bool {
	if r.taken+n > maxRoom {
		return false
	}
	r.taken += n
	return true
}

func (r *Room) give(n int) { r.taken -= n }

// begin reads as much of a body as tells its window. What it reads belongs to the body; one that ends
// before has none.
func (d *Decoder) begin(e Encoding) (read []byte, window int, err error) {
	if e == Gzip {
		return nil, gzipWindow, nil
	}
	var one [1]byte
	for window == 0 {
		switch _, err := io.ReadFull(d, one[:]); {
		case errors.Is(err, io.EOF):
			return read, leastZstd, nil
		case err != nil:
			return nil, 0, err
		}
		read = append(read, one[0])
		if e == Brotli {
			window = brotliWindow(one[0])
		} else {
			window = zstdWindow(read)
		}
	}
	return read, window, nil
}

// zstdWindow is the window that a frame's header asks for, 0 while it is not all there. What is no
// header is the library's to refuse, and so is a window beyond maxZstd.
func zstdWindow(begin []byte) int {
	var h zstd.Header
	err := h.Decode(begin)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && len(begin) < zstd.HeaderMaxSize:
		return 0
	case err != nil:
		return leastZstd
	case h.Skippable: // the frame that matters is behind it
		return maxZstd
	case h.SingleSegment:
		return int(min(max(h.FrameContentSize, leastZstd), maxZstd))
	}
	return int(min(max(h.WindowSize, leastZstd), maxZstd))
}

// brotliWindow is the window that a stream's first byte asks for (RFC 7932, 9.1).
func brotliWindow(b byte) int {
	bits := 16
	if b&1 != 0 {
		switch n, m := int(b>>1&7), int(b>>4&7); {
		case n != 0:
			bits = 17 + n
		case m > 1:
			bits = 8 + m
		default: // 17; 1 is of a large window, which the library refuses
			bits = 17
		}
	}
	return 1 << bits
}
