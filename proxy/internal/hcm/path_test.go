package hcm

import (
	"bytes"
	"testing"
)

// TestNestedEscapes: what is decoded makes no escape that an application would decode again. The results are Envoy's.
func TestNestedEscapes(t *testing.T) {
	for in, want := range map[string]string{
		"/%2e": "/", "/a/%2e%2E/b": "/b", "/%41": "/A", "/%25": "/%25",
		"/%2%65": "/%252e", "/%%32e": "/%252e", "/%%32%65": "/%252e", "/a/%2%65%2%65/b": "/a/%252e%252e/b", "/%2%66x": "/%252fx", "/%4%31": "/%2541",
		"/%%32%%365": "/%2%2565", "/%%34z": "/%4z", "/%%2e": "/%.", "/%%41": "/%A", "/%2%6": "/%2%6",
	} {
		if got, ok := canonical([]byte(in)); !ok || string(got) != want {
			t.Errorf("%s: %q, %t, want %q", in, got, ok, want)
		}
	}
}

// FuzzCanonicalPath: a path that was made canonical is so, whatever it was, so that no policy sees another one than the application makes of it.
func FuzzCanonicalPath(f *testing.F) {
	for _, seed := range []string{"/a/../b", "/%2%65%2%65/", "/%%32%65", "//a//", "/a\\..\\b", "/%5c%2f", "/%00", "/.%2e/%c3%a4"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		p = append([]byte("/"), p...)
		once, ok := canonical(p)
		if !ok {
			return
		}
		again, ok := canonical(once)
		if !ok || !bytes.Equal(once, again) {
			t.Errorf("%q: %q, and made canonical again %q", p, once, again)
		}
		if len(once) == 0 || once[0] != '/' {
			t.Errorf("%q: %q does not begin with a slash", p, once)
		}
		if merged := mergeSlashes(once); !bytes.Equal(merged, mergeSlashes(merged)) {
			t.Errorf("%q: slashes are left in %q", p, merged)
		}
	})
}
