package peermetadata

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
)

// TestPreamble: what one side writes the other reads, whatever pieces it comes in.
func TestPreamble(t *testing.T) {
	for _, v := range vectors(t) {
		const id = "sidecar~10.10.0.19~webapp-1.istioinaction~istioinaction.svc.cluster.local"
		p, err := Preamble(id, v.Base64)
		if err != nil {
			t.Fatal(err)
		}
		for i := range p {
			if n, _, err := TakePreamble(p[:i]); n != 0 || err != nil {
				t.Fatalf("%d bytes of it: %d %v", i, n, err)
			}
		}
		n, body, err := TakePreamble(append(bytes.Clone(p), "application"...))
		if n != len(p) || err != nil {
			t.Fatalf("%d of %d bytes: %v", n, len(p), err)
		}
		var c Cache
		got := c.Preamble(body)
		want, err := Decode(id, []byte(v.Base64))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
		if c.Preamble(body) != got {
			t.Error("a peer is decoded twice")
		}
		if n := testing.AllocsPerRun(100, func() { c.Preamble(body) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// TestPreambleWire holds the bytes of the protocol.
func TestPreambleWire(t *testing.T) {
	p, err := Preamble("n", "")
	if err != nil {
		t.Fatal(err)
	}
	want := "\x3d\x23\x04\x67\x00\x00\x00\x6c" + "\n\x2atype.googleapis.com/google.protobuf.Struct\x12\x3e" +
		"\n\x1b\n\x15x-envoy-peer-metadata\x12\x02*\x00" + "\n\x1f\n\x18x-envoy-peer-metadata-id\x12\x03\x1a\x01n"
	if string(p) != want {
		t.Errorf("%q\n%q", p, want)
	}
}

func TestNoPreamble(t *testing.T) {
	head := func(magic, size uint32) []byte {
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, magic), size)
	}
	for name, tt := range map[string]struct {
		in  []byte
		err error
	}{
		"another protocol":         {[]byte("GET / HTTP/1.1\r\n"), ErrNoPreamble},
		"one byte of another":      {[]byte("G"), ErrNoPreamble},
		"nearly the magic number":  {head(preambleMagic+1, 1), ErrNoPreamble},
		"too large":                {head(preambleMagic, MaxPreamble+1), ErrPreambleTooLarge},
		"all bits set":             {head(preambleMagic, 1<<32-1), ErrPreambleTooLarge},
		"as large as is allowed":   {head(preambleMagic, MaxPreamble), nil},
		"nothing":                  {nil, nil},
		"part of the magic number": {head(preambleMagic, 0)[:3], nil},
	} {
		if n, _, err := TakePreamble(tt.in); n != 0 || !errors.Is(err, tt.err) {
			t.Errorf("%s: %d %v, want %v", name, n, err, tt.err)
		}
	}
	var c Cache
	for _, damaged := range []string{"\xff", "no proto", "\n\x04else\x12\x00"} {
		if p := c.Preamble([]byte(damaged)); p != nil {
			t.Errorf("%q makes %+v", damaged, p)
		}
	}
	if p := c.Preamble(nil); p != nil {
		t.Errorf("an empty body makes %+v", p)
	}
}

func FuzzPreamble(f *testing.F) {
	p, err := Preamble("n", "")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p)
	f.Add([]byte("\x3d\x23\x04\x67\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, body, err := TakePreamble(b)
		if n < 0 || n > len(b) || n > MaxPreamble+preambleHeader || err != nil && n != 0 {
			t.Fatalf("%d of %d bytes, %v", n, len(b), err)
		}
		if n > 0 {
			var c Cache
			c.Preamble(body)
		}
	})
}
