package listener

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestConnectionLimit follows a limit that the runtime sets while connections are there: those that came before count, one
// too many is closed at once, and one that ends makes room.
func TestConnectionLimit(t *testing.T) {
	const name = "envoy.resource_limits.listener.test.connection_limit"
	w := newWorld(t, 2)
	reg := runtimekey.NewRegistry()
	runtime := runtimekey.New([]runtimekey.Source{{Name: "admin", Kind: runtimekey.Admin}}, reg, stats.NewStore(stats.Options{Workers: 1}))
	l, addr := w.listener(&xdsresource.Listener{ConnectionLimit: reg.Key(name), FilterChains: []*xdsresource.FilterChain{{Name: "a"}}})
	open := func() (net.Conn, string) {
		nc := dial(t, "tcp", addr)
		return nc, greet(t, nc)
	}
	limit := func(text string) {
		if !runtime.Modify(map[string]string{name: text}) {
			t.Fatal("the runtime cannot be modified")
		}
	}
	served := func(n int64) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); l.serving.Load() != n; w.settle() {
			if time.Now().After(end) {
				t.Fatalf("%d connections, want %d", l.serving.Load(), n)
			}
		}
	}
	first, got := open()
	if got != "a" {
		t.Fatal(got)
	}
	limit("2")
	if _, got = open(); got != "a" {
		t.Fatalf("the second: %s", got)
	}
	if _, got = open(); !strings.HasPrefix(got, "error: ") {
		t.Fatalf("the third is served: %s", got)
	}
	served(2)
	if got := w.stat("downstream_cx_overflow"); got != "1" {
		t.Errorf("downstream_cx_overflow %s", got)
	}
	_ = first.Close()
	served(1)
	if _, got = open(); got != "a" {
		t.Fatalf("after one has ended: %s", got)
	}
	limit("many")
	if _, got = open(); got != "a" {
		t.Fatalf("with a value that is no number: %s", got)
	}
	served(3)
}
