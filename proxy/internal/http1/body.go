package http1

import (
	"bytes"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// Bounds of what surrounds chunks, so that framing cannot be used to feed bytes for ever.
const (
	maxChunkDigits    = 16
	maxChunkExtension = 4 << 10  // bytes of all extensions between two data bytes
	maxTrailerBytes   = 16 << 10 // of the trailer section
	maxTrailers       = 64
)

type bodyState uint8

const (
	bodyDone bodyState = iota
	bodyLength
	bodyUntilClose
	chunkSizeStart // no digit yet
	chunkSize
	chunkExtension
	chunkSizeLF
	chunkData
	chunkEndCR
	chunkEndLF
	trailers
)

// Body decodes one message's body piece by piece. It keeps no data but an unfinished trailer
// section.
type Body struct {
	state bodyState
	left  uint64 // of the length or the chunk
	ext   int
	tail  []byte // trailer section so far
}

// Start prepares for the body that m announces.
func (b *Body) Start(m *Message) {
	*b = Body{left: m.Length}
	switch m.Framing {
	case ByLength:
		b.state = bodyLength
	case Chunked:
		b.state = chunkSizeStart
	case UntilClose, Tunnel:
		b.state = bodyUntilClose
	}
}

// Done reports whether the body has been read in full.
func (b *Body) Done() bool { return b.state == bodyDone }

// EndsWithClose reports whether the end of the connection is the end of the body.
func (b *Body) EndsWithClose() bool { return b.state == bodyUntilClose }

// Next takes a piece of body from the front of p. It returns the piece (a slice of p, empty
// when only framing was read) and how many bytes of p it is done with. Call it until it
// takes nothing more or Done.
func (b *Body) Next(p []byte) (data []byte, n int, err *Error) {
	for n < len(p) && b.state != bodyDone {
		switch b.state {
		case bodyUntilClose:
			return p[n:], len(p), nil
		case bodyLength, chunkData:
			k := len(p) - n
			if uint64(k) > b.left {
				k = int(b.left)
			}
			if b.left -= uint64(k); b.left == 0 {
				if b.state == bodyLength {
					b.state = bodyDone
				} else {
					b.state, b.ext = chunkEndCR, 0
				}
			}
			data = p[n : n+k : n+k]
			n += k
			return data, n, nil
		case trailers:
			k, err := b.takeTrailers(p[n:])
			if err != nil {
				return nil, 0, err
			}
			n += k
		default:
			if err := b.framing(p[n]); err != nil {
				return nil, 0, err
			}
			n++
		}
	}
	return nil, n, nil
}

// framing reads one byte of chunk framing.
func (b *Body) framing(c byte) *Error {
	switch b.state {
	case chunkSizeStart, chunkSize:
		d := hexDigit(c)
		switch {
		case d >= 0:
			// Zeros in front count as well: a size is not to be an endless stream of them.
			if b.ext++; b.ext > maxChunkDigits || b.left>>56 != 0 { // more than 60 bits after the shift
				return ErrChunkSize
			}
			b.left = b.left<<4 | uint64(d)
			b.state = chunkSize
		case b.state == chunkSizeStart:
			return ErrChunkSize
		case c == ';':
			b.state, b.ext = chunkExtension, 0
		case c == '\r':
			b.state = chunkSizeLF
		default:
			return ErrChunkSize
		}
	case chunkExtension:
		switch {
		case c == '\r':
			b.state = chunkSizeLF
		case c < 0x20 && c != '\t' || c == 0x7f:
			return ErrChunkExtension
		default:
			if b.ext++; b.ext > maxChunkExtension {
				return ErrChunkExtension
			}
		}
	case chunkSizeLF:
		if c != '\n' {
			return ErrBareCR
		}
		if b.state = chunkData; b.left == 0 {
			b.state = trailers
		}
	case chunkEndCR:
		if c != '\r' {
			return ErrChunkEnd
		}
		b.state = chunkEndLF
	case chunkEndLF:
		if c != '\n' {
			return ErrChunkEnd
		}
		b.state = chunkSizeStart
	}
	return nil
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// takeTrailers collects the trailer section, which ends in an empty line.
func (b *Body) takeTrailers(p []byte) (int, *Error) {
	if len(b.tail) == 0 && len(p) >= 2 && p[0] == '\r' && p[1] == '\n' { // the usual case: none
		b.state = bodyDone
		return 2, nil
	}
	for i, c := range p {
		b.tail = append(b.tail, c)
		n := len(b.tail)
		switch {
		case c == '\n' && (n < 2 || b.tail[n-2] != '\r'):
			return 0, ErrBareLF
		case n == 2 && c == '\n', n >= 4 && c == '\n' && bytes.HasSuffix(b.tail, crlfcrlf):
			b.state = bodyDone
			return i + 1, nil
		case n > maxTrailerBytes:
			return 0, ErrTrailer
		}
	}
	return len(p), nil
}

// Trailers parses the trailer section after Done into h, which must be empty. It reports
// whether there are any. h's slices point into the Body's memory.
func (b *Body) Trailers(h *header.Map) (bool, *Error) {
	if len(b.tail) <= 2 {
		return false, nil
	}
	f := fields{limit: maxTrailers, request: true}
	if err := f.parse(b.tail, h); err != nil {
		return false, err
	}
	if h.BarredFromTrailers() {
		return false, ErrTrailer
	}
	return h.Len() > 0, nil
}

// FieldBytes is Message.FieldBytes of trailers.
func FieldBytes(h *header.Map) int { return h.Size() + h.Len()*len(":\r\n") }
