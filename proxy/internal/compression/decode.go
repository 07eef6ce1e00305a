package compression

import (
	"bytes"
	"errors"
	"io"
	"iter"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Limits of what a body may grow to: a few bytes may stand for gigabytes.
const (
	maxRatio   = 100 // Envoy's default of max_inflate_ratio
	alwaysFine = 256 << 10
	pieceSize  = 16 << 10
)

// ErrRatio is returned for a body that grows out of proportion.
var ErrRatio = errors.New("the body grows out of proportion")

// Decoder decompresses one body. The library reads from it in a coroutine of its own, which rests
// when it has no more input: no goroutine of the scheduler is involved, nothing waits.
type Decoder struct {
	// MaxRatio is how many times larger than what has come the body may become, beyond a quarter of a megabyte. NewDecoder sets Envoy's
	// default, 100; a change counts before the first piece.
	MaxRatio uint32

	room    *Room
	next    func() ([]byte, bool)
	stop    func()
	in      []byte
	end     bool
	err     error
	read    int64
	written int64
	yield   func([]byte) bool
}

// NewDecoder begins a body, whose window comes out of the room. Close it in the end.
func NewDecoder(e Encoding, room *Room) *Decoder {
	d := &Decoder{MaxRatio: maxRatio, room: room}
	d.next, d.stop = iter.Pull(func(yield func([]byte) bool) {
		d.yield = yield
		d.err = d.run(e)
	})
	return d
}

var errStopped = errors.New("stopped")

// Read implements io.Reader for the library: it rests until there is input.
func (d *Decoder) Read(p []byte) (int, error) {
	for len(d.in) == 0 {
		if d.end {
			return 0, io.EOF
		}
		if !d.yield(nil) {
			return 0, errStopped
		}
	}
	n := copy(p, d.in)
	d.in = d.in[n:]
	d.read += int64(n)
	return n, nil
}

func (d *Decoder) run(e Encoding) error {
	begin, window, err := d.begin(e)
	if err != nil {
		return err
	}
	if !d.room.take(window) {
		return ErrNoRoom
	}
	defer d.room.give(window)
	r, err := open(e, io.MultiReader(bytes.NewReader(begin), d), window)
	if err != nil {
		return err
	}
	if c, ok := r.(interface{ Close() }); ok { // zstd's, which holds large buffers
		defer c.Close()
	}
	buf := make([]byte, pieceSize)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if d.written += int64(n); d.written > alwaysFine && d.written > int64(d.MaxRatio)*d.read {
				return ErrRatio
			}
			if !d.yield(buf[:n]) {
				return errStopped
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func open(e Encoding, r io.Reader, window int) (io.Reader, error) {
	switch e {
	case Brotli:
		return brotli.NewReader(r), nil
	case Zstd:
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(uint64(window)))
	}
	return gzip.NewReader(r)
}

// Decode takes a piece and calls emit with what it decompresses to, in pieces that are valid during
// the call. After an error it must not be called again.
func (d *Decoder) Decode(p []byte, end bool, emit func([]byte)) error {
	d.in, d.end = p, end
	for {
		out, ok := d.next()
		switch {
		case !ok:
			return d.err // nil: the body is complete
		case out != nil:
			emit(out)
		case end && len(d.in) == 0:
			continue // it has yet to see the end
		default:
			return nil // it wants more
		}
	}
}

// Close ends a body, complete or not.
func (d *Decoder) Close() { d.stop() }
