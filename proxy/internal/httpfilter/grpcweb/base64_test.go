package grpcweb

import (
	"bytes"
	"encoding/base64"
	"testing"
)

// FuzzDecode: how the text is cut makes no difference, and what is taken is what the groups of four
// stand for, one after the other.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "AAAA", "AA==AA==", "AA\n=", "A", "////", "AAA=A", "=AAA"} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, p []byte, cut int) {
		cut = min(max(cut, 0), len(p))
		var want []byte
		good := len(p)%4 == 0
		for i := 0; i+4 <= len(p) && good; i += 4 {
			group := p[i : i+4]
			b, err := base64.StdEncoding.Strict().DecodeString(string(group))
			good = err == nil && !bytes.ContainsAny(group, "\r\n")
			want = append(want, b...)
		}
		var d decoder
		a, err := d.decode(p[:cut], false)
		got := bytes.Clone(a)
		if err == nil {
			a, err = d.decode(p[cut:], true)
			got = append(got, a...)
		}
		if (err == nil) != good || good && !bytes.Equal(got, want) {
			t.Errorf("%q cut at %d: %q, %v; want %q, good %v", p, cut, got, err, want, good)
		}
	})
}

// FuzzEncode: how the bytes are cut makes no difference, and every frame decodes by itself.
func FuzzEncode(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x80\x00\x00\x00\x02bc"), 7)
	f.Fuzz(func(t *testing.T, p []byte, cut int) {
		cut = min(max(cut, 0), len(p))
		var whole, parts encoder
		a := whole.flush(whole.encode(nil, p))
		b := parts.flush(parts.encode(parts.encode(nil, p[:cut]), p[cut:]))
		if !bytes.Equal(a, b) {
			t.Fatalf("%q cut at %d: %q and %q", p, cut, a, b)
		}
		var d decoder
		got, err := d.decode(a, true)
		if err != nil || !bytes.Equal(got, p) {
			t.Errorf("%q became %q, which is %q, %v", p, a, got, err)
		}
	})
}
