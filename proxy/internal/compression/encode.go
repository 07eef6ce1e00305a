// Package compression compresses and decompresses bodies piece by piece: gzip, brotli and zstd.
//
// The libraries do the work: klauspost/compress and andybalholm/brotli. This package makes one shape
// of them, keeps encoders for reuse, since they are large, and turns decoders, which pull, into ones
// that are fed. It knows no HTTP; the filters compressor and decompressor import it.
package compression

import (
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Encoding is a content coding.
type Encoding uint8

// Content codings.
const (
	Gzip Encoding = iota
	Brotli
	Zstd
)

// String is the coding's name in content-encoding.
func (e Encoding) String() string { return [...]string{"gzip", "br", "zstd"}[e] }

// Settings say how to compress. Level 0 is the library's default.
type Settings struct {
	Encoding Encoding
	Level    int
	Window   int // log2 of the window's size, for brotli; 0: the default
	Checksum bool
}

// encoder is what the libraries have in common.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// maxFree is how many encoders a pool keeps. One takes some hundred kilobytes.
const maxFree = 4

// Pool makes encoders of one kind and keeps a few. It belongs to one event loop.
type Pool struct {
	settings Settings
	free     []encoder
}

// NewPool returns an empty pool.
func NewPool(s Settings) *Pool { return &Pool{settings: s} }

// Encoder compresses one body.
type Encoder struct {
	pool *Pool
	enc  encoder
	out  []byte
}

// Get begins a body.
func (p *Pool) Get() (*Encoder, error) {
	e := &Encoder{pool: p}
	if n := len(p.free); n > 0 {
		e.enc = p.free[n-1]
		p.free = p.free[:n-1]
		e.enc.Reset((*sink)(e))
		return e, nil
	}
	var err error
	e.enc, err = p.settings.open((*sink)(e))
	return e, err
}

func (s *Settings) open(w io.Writer) (encoder, error) {
	switch s.Encoding {
	case Brotli:
		level := s.Level
		if level == 0 {
			level = 3 // Envoy's default
		}
		return brotli.NewWriterOptions(w, brotli.WriterOptions{Quality: level, LGWin: s.Window}), nil
	case Zstd:
		level := zstd.SpeedDefault
		if s.Level != 0 {
			level = zstd.EncoderLevelFromZstd(s.Level)
		}
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderLevel(level), zstd.WithEncoderCRC(s.Checksum), zstd.WithWindowSize(256<<10))
	}
	level := s.Level
	if level == 0 {
		level = gzip.DefaultCompression
	}
	return gzip.NewWriterLevel(w, level)
}

// Check reports settings that no encoder can be made of.
func (s *Settings) Check() error {
	e, err := s.open(io.Discard)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Encoding, err)
	}
	return e.Close()
}

// sink takes what the library writes.
type sink Encoder

func (s *sink) Write(p []byte) (int, error) {
	s.out = append(s.out, p...)
	return len(p), nil
}

// Encode compresses a piece and returns what there is of it: everything so far, so that a reader
// need not wait for the next piece. It is valid until the next call.
func (e *Encoder) Encode(p []byte, end bool) ([]byte, error) {
	e.out = e.out[:0]
	if _, err := e.enc.Write(p); err != nil {
		return nil, err
	}
	if end {
		err := e.enc.Close()
		return e.out, err
	}
	err := e.enc.Flush()
	return e.out, err
}

// Release gives the encoder back; the body need not be complete.
func (e *Encoder) Release() {
	if e.enc == nil {
		return
	}
	if len(e.pool.free) < maxFree {
		e.enc.Reset(io.Discard)
		e.pool.free = append(e.pool.free, e.enc)
	}
	e.enc = nil
}
