package proxy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestProfiles: the admin API takes profiles to the file that the bootstrap names, and to no other.
func TestProfiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cpu.prof")
	r := run(t, fmt.Sprintf(`admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}, profile_path: %s}`, file))
	for _, q := range []string{"", "?enable=maybe", "?enable=y&path=/tmp/other"} {
		if code, body := r.admin("POST", "/cpuprofiler"+q); code != 400 {
			t.Errorf("%q: %d %s", q, code, body)
		}
	}
	if code, _ := r.admin("GET", "/cpuprofiler?enable=y"); code != 405 {
		t.Errorf("a GET changes something: %d", code)
	}
	// A second start and a second stop change nothing.
	for _, q := range []string{"y", "y", "n", "n"} {
		if code, body := r.admin("POST", "/cpuprofiler?enable="+q); code != 200 {
			t.Errorf("enable=%s: %d %s", q, code, body)
		}
	}
	gzipped := []byte{0x1f, 0x8b} // the form of pprof
	if raw, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(raw, gzipped) {
		t.Errorf("no profile: %v", err)
	}
	if code, body := r.admin("GET", "/heap_dump"); code != 200 || !bytes.HasPrefix([]byte(body), gzipped) {
		t.Errorf("no profile of the heap: %d", code)
	}
	// One that nobody stops ends with the proxy.
	if code, body := r.admin("POST", "/cpuprofiler?enable=y"); code != 200 {
		t.Errorf("%d %s", code, body)
	}
}

// A file that cannot be written is an answer, and no profile is left running.
func TestProfileNowhere(t *testing.T) {
	r := run(t, `admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}, profile_path: /nowhere/cpu.prof}`)
	for range 2 {
		if code, body := r.admin("POST", "/cpuprofiler?enable=y"); code != 500 {
			t.Errorf("%d %s", code, body)
		}
	}
}
