package grpcweb

import (
	"bytes"
	"encoding/base64"
	"errors"

	"github.com/lateen-mesh/lateen/proxy/internal/grpcframe"
)

// Errors of a request's text; their words are details of a response, as in Envoy.
var (
	errData = errors.New("grpc_base_64_decode_failed")
	errSize = errors.New("grpc_base_64_decode_failed_bad_size")
)

var strict = base64.StdEncoding.Strict()

// decoder turns text into bytes as it comes. Text may be padded anywhere, since clients encode what
// they have whenever they send something; how the network has cut it makes no difference.
type decoder struct {
	rest  [4]byte // of a group of four
	nRest int
	buf   []byte
}

// decode returns the bytes of a piece; they are valid until the next call.
func (d *decoder) decode(p []byte, end bool) ([]byte, error) {
	out := d.buf[:0]
	if d.nRest > 0 {
		n := copy(d.rest[d.nRest:], p)
		d.nRest += n
		p = p[n:]
		if d.nRest == 4 {
			d.nRest = 0
			var err error
			if out, err = appendDecoded(out, d.rest[:]); err != nil {
				return nil, err
			}
		}
	}
	whole := len(p) / 4 * 4
	for text := p[:whole]; len(text) > 0; {
		n := len(text)
		if i := bytes.IndexByte(text, '='); i >= 0 {
			n = (i/4 + 1) * 4
		}
		var err error
		if out, err = appendDecoded(out, text[:n]); err != nil {
			return nil, err
		}
		text = text[n:]
	}
	d.nRest += copy(d.rest[d.nRest:], p[whole:])
	d.buf = out
	if end && d.nRest > 0 {
		return nil, errSize
	}
	return out, nil
}

// appendDecoded decodes groups of four of which only the last may be padded.
func appendDecoded(dst, text []byte) ([]byte, error) {
	if bytes.ContainsAny(text, "\r\n") { // which the library skips
		return nil, errData
	}
	dst, err := strict.AppendDecode(dst, text)
	if err != nil {
		return nil, errData
	}
	return dst, nil
}

// encoder turns frames into text, each padded at its end, as it comes.
type encoder struct {
	frames grpcframe.Scanner
	rest   [2]byte // of a group of three
	nRest  int
	buf    []byte
}

// encode appends the text of a piece.
func (e *encoder) encode(dst, p []byte) []byte {
	for len(p) > 0 {
		st := e.frames.Advance(p)
		dst = e.add(dst, p[:st.Bytes])
		if p = p[st.Bytes:]; st.Ended {
			dst = e.flush(dst)
		}
	}
	return dst
}

func (e *encoder) add(dst, p []byte) []byte {
	if e.nRest > 0 {
		if e.nRest+len(p) < 3 {
			e.nRest += copy(e.rest[e.nRest:], p)
			return dst
		}
		group := [3]byte{e.rest[0], e.rest[1]}
		n := copy(group[e.nRest:], p)
		dst = base64.StdEncoding.AppendEncode(dst, group[:])
		p, e.nRest = p[n:], 0
	}
	whole := len(p) / 3 * 3
	dst = base64.StdEncoding.AppendEncode(dst, p[:whole])
	e.nRest = copy(e.rest[:], p[whole:])
	return dst
}

// flush appends what is left over, padded.
func (e *encoder) flush(dst []byte) []byte {
	dst = base64.StdEncoding.AppendEncode(dst, e.rest[:e.nRest])
	e.nRest = 0
	return dst
}
