package peermetadata

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"testing"
)

type vector struct {
	Base64  string         `json:"base64"`
	Decoded map[string]any `json:"decoded"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/peer-metadata.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(b, &vs); err != nil {
		t.Fatal(err)
	}
	return vs
}

// TestVectors holds the bytes that Istio 1.17.8 sidecars and gateways were seen to send.
func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		name := v.Decoded["NAME"].(string)
		t.Run(name, func(t *testing.T) {
			node := map[string]any{"PROXY_CONFIG": map[string]any{"secret": "x"}}
			for k, x := range v.Decoded {
				node[k] = x
			}
			got, err := Encode(node)
			if err != nil {
				t.Fatal(err)
			}
			if got != v.Base64 {
				t.Errorf("Encode:\n got %s\nwant %s", got, v.Base64)
			}
			p, err := Decode("id", []byte(v.Base64))
			if err != nil {
				t.Fatal(err)
			}
			if want := FromNode("id", v.Decoded); !reflect.DeepEqual(p, want) {
				t.Errorf("Decode:\n got %+v\nwant %+v", p, want)
			}
			labels := v.Decoded["LABELS"].(map[string]any)
			if p.Name != name || p.App != labels["app"] || p.CanonicalRevision != labels["service.istio.io/canonical-revision"] {
				t.Errorf("peer %+v", p)
			}
		})
	}
}

func TestFallbacks(t *testing.T) {
	p := FromNode("x", map[string]any{
		"OWNER":  "kubernetes://apis/apps/v1/namespaces/ns/deployments/web",
		"LABELS": map[string]string{"version": "v3"},
	})
	if p.Workload != "web" || p.Version != "v3" {
		t.Errorf("%+v", p)
	}
	if p := FromNode("x", map[string]any{"WORKLOAD_NAME": "web"}); p.CanonicalName != "web" || p.CanonicalRevision != "latest" {
		t.Errorf("%+v", p)
	}
	if p := FromNode("x", nil); p.CanonicalRevision != "" {
		t.Errorf("%+v", p)
	}
}

func TestCache(t *testing.T) {
	var c Cache
	vs := vectors(t)
	a := c.Get([]byte("a"), []byte(vs[0].Base64))
	if a == nil || a != c.Get([]byte("a"), []byte(vs[0].Base64)) {
		t.Fatal("not cached")
	}
	if b := c.Get([]byte("a"), []byte(vs[1].Base64)); b == nil || b.Workload != "catalog-v2" {
		t.Errorf("another metadata under a known id answered from the cache: %+v", b)
	}
	for range 2 { // decoded, then cached
		if c.Get([]byte("bad"), []byte("!!")) != nil {
			t.Error("damaged metadata accepted")
		}
	}
	for i := range 3 * maxPeers {
		c.Get(fmt.Appendf(nil, "id-%d", i), []byte(vs[0].Base64))
	}
	if len(c.peers) > maxPeers {
		t.Errorf("%d peers cached", len(c.peers))
	}
	id, enc := []byte("a"), []byte(vs[0].Base64)
	c.Get(id, enc)
	if n := testing.AllocsPerRun(100, func() { c.Get(id, enc) }); n != 0 {
		t.Errorf("%v allocations on a hit", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.Base64))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Decode("id", b)
		if (p == nil) == (err == nil) {
			t.Fatal("neither a peer nor an error, or both")
		}
	})
}
