package dynatrace

import (
	"bytes"
	"strconv"
)

// tag is an entry of tracestate by which a decision travels:
// "fw4;0;0;0;0;IGNORED;EXPONENT;PATH[;CHECKSUM;8hREASONS]", all but EXPONENT hexadecimal.
type tag struct {
	ignored  bool // not recorded
	exponent uint8
	path     uint8
	// reasons says why the trace is recorded, bits of a set; explained: it says so.
	reasons   uint8
	explained bool
}

// Reasons why a trace is recorded, by their bits.
var reasonNames = [...]string{"atm", "fixed", "custom", "mainframe", "serverless", "rum"}

// adaptive is the reason of those that we decide on: adaptive traffic management.
const adaptive = 1 << 0

// greatest is the greatest exponent that a tag may have. Envoy shifts by what there is, as its processor does.
const greatest = 31

// parseTag reads a tag. It is strict: a damaged one is none.
func parseTag(v []byte) (t tag, ok bool) {
	for i := 0; ; i++ {
		field, rest, more := bytes.Cut(v, []byte{';'})
		switch {
		case i == 0 && string(field) != "fw4":
			return tag{}, false
		case i == 5:
			t.ignored = string(field) == "1"
		case i == 6:
			n, err := strconv.ParseUint(string(field), 10, 32)
			if err != nil || n > greatest {
				return tag{}, false
			}
			t.exponent = uint8(n)
		case i == 7:
			n, err := strconv.ParseUint(string(field), 16, 32)
			if err != nil {
				return tag{}, false
			}
			t.path, ok = uint8(n), true
		case i > 7 && len(field) > 2 && string(field[:2]) == "8h":
			t.reasons, t.explained = parseReasons(field[2:])
			return t, true
		}
		if !more {
			return t, ok
		}
		v = rest
	}
}

// parseReasons reads a version, which is 1, and the set, of up to eight bytes.
func parseReasons(v []byte) (uint8, bool) {
	if len(v) < 4 || len(v)%2 != 0 || len(v) > 18 || string(v[:2]) != "01" {
		return 0, false
	}
	n, err := strconv.ParseUint(string(v[2:]), 16, 64)
	if err != nil || n >= 1<<len(reasonNames) {
		return 0, false
	}
	return uint8(n), true
}

// append writes a tag of ours.
func (t tag) append(dst []byte) []byte {
	dst = append(dst, "fw4;0;0;0;0;0;"...)
	if t.ignored {
		dst[len(dst)-2] = '1'
	}
	dst = strconv.AppendUint(dst, uint64(t.exponent), 10)
	dst = strconv.AppendUint(append(dst, ';'), uint64(t.path), 16)
	return append(dst, ownReasons...)
}

// ownReasons says that we decide for adaptive's sake. Before it stands its checksum: the low 16 bits of MurmurHash64A of ";8h0101", the
// seed being e17a1465.
const ownReasons = ";3b1a;8h0101"

// note keeps of a tag what spans tell.
func (t tag) note() uint32 {
	n := uint32(t.exponent) | uint32(t.reasons)<<8
	if t.explained {
		n |= 1 << 16
	}
	return n
}

func ofNote(n uint32) tag {
	return tag{exponent: uint8(n), reasons: uint8(n >> 8), explained: n>>16 != 0}
}
