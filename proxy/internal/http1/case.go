package http1

import (
	"bytes"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// This file is about names of headers that keep the case in which they came, or are given one.

// spell remembers the names of a head's lines before they are lowered in place. The lines are parsed, and refused, later.
func spell(b []byte, sp *header.Spelling) {
	for len(b) > 0 {
		line := b
		if eol := bytes.IndexByte(b, '\n'); eol >= 0 {
			line, b = b[:eol], b[eol+1:]
		} else {
			b = nil
		}
		if colon := bytes.IndexByte(line, ':'); colon > 0 {
			sp.Add(line[:colon])
		}
	}
}

// reasonOf is the reason phrase of a status line that was accepted.
func reasonOf(line []byte) []byte {
	const before = len("HTTP/1.1 200 ")
	line = bytes.TrimRight(line, "\r\n")
	if len(line) <= before {
		return nil
	}
	return line[before:]
}

// recase writes the names of a head's lines, which are in lower case, as they came (sp), or Like-This. Their lengths stay.
func recase(b []byte, sp *header.Spelling) {
	for len(b) > 0 {
		line := b
		if eol := bytes.IndexByte(b, '\n'); eol >= 0 {
			line, b = b[:eol], b[eol+1:]
		} else {
			b = nil
		}
		switch colon := bytes.IndexByte(line, ':'); {
		case colon <= 0:
		case sp != nil:
			sp.Write(line[:colon])
		default:
			header.ProperCase(line[:colon])
		}
	}
}
