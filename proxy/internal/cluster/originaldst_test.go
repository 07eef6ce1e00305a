package cluster

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestOriginalDst(t *testing.T) {
	m := newMesh(t, 1, nil)
	c := &xdsresource.Cluster{Name: "c", Type: xdsresource.ClusterOriginalDst, LB: xdsresource.LoadBalancing{Policy: xdsresource.LBClusterProvided}, Breakers: unlimited()}
	m.update(t, c)
	l := m.Local(0).Get("c")
	if l.Pick(&lb.Context{}) != nil {
		t.Error("a host without a destination")
	}
	a := netip.MustParseAddrPort("10.9.8.7:443")
	h := l.Pick(&lb.Context{OriginalDst: a})
	if h == nil || h.Host.Name != "10.9.8.7:443" || h != l.Pick(&lb.Context{OriginalDst: a}) {
		t.Fatal("not one host per destination")
	}
	p := &fakePool{}
	h.Pool = p
	l.cleanOriginalDst() // used since the last time
	if l.Pick(&lb.Context{OriginalDst: a}) != h || p.closed != 0 {
		t.Error("a used host was cleaned up")
	}
	h.OnRequest()
	l.cleanOriginalDst()
	l.cleanOriginalDst()
	if p.closed != 0 {
		t.Error("a busy host was cleaned up")
	}
	h.OnDone()
	l.cleanOriginalDst()
	if p.closed != 1 || !h.Removed() {
		t.Error("an idle host stays")
	}
	m.Remove("c")
	m.run()
	if l.Pick(&lb.Context{OriginalDst: a}) != nil {
		t.Error("a removed cluster makes hosts")
	}
}

// TestCleanupInterval: a host goes when it was not used for an interval of its own cluster.
func TestCleanupInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = m.Run(ctx) }()
		synctest.Wait()
		begin := time.Now()
		pools := map[string]*fakePool{}
		for name, d := range map[string]time.Duration{"quick": time.Second, "slow": 20 * time.Second} {
			m.update(t, &xdsresource.Cluster{Name: name, Type: xdsresource.ClusterOriginalDst, CleanupInterval: d,
				LB: xdsresource.LoadBalancing{Policy: xdsresource.LBClusterProvided}, Breakers: unlimited()})
			h := m.Local(0).Get(name).Pick(&lb.Context{OriginalDst: netip.MustParseAddrPort("10.9.8.7:443")})
			pools[name] = &fakePool{}
			h.Pool = pools[name]
		}
		gone := map[string]time.Duration{}
		for len(gone) < 2 && time.Since(begin) < time.Minute {
			advance(time.Second)
			m.run()
			for name, p := range pools {
				if p.closed > 0 && gone[name] == 0 {
					gone[name] = time.Since(begin)
				}
			}
		}
		if gone["quick"] != 2*time.Second || gone["slow"] != 40*time.Second {
			t.Errorf("hosts are gone after %v, want 2s and 40s: the first interval sees that they were used", gone)
		}
		cancel()
		<-done
	})
}

// TestDestinationOfMetadata: an address at the path, and nothing else, is a destination.
func TestDestinationOfMetadata(t *testing.T) {
	m := newMesh(t, 1, nil)
	l := m.local(t, eds("c"), endpoints("10.0.0.1:80"))
	md := map[string]map[string]any{"f": {"to": "10.1.2.3:4", "deep": map[string]any{"to": "[fd00::1]:5"}, "number": 1.0, "name": "a.test:80"}}
	for _, tc := range []struct {
		path    []string
		want    string
		invalid int64
	}{
		{[]string{"f", "to"}, "10.1.2.3:4", 0},
		{[]string{"f", "deep", "to"}, "[fd00::1]:5", 0},
		{[]string{"f", "deep"}, "invalid AddrPort", 0},
		{[]string{"f", "to", "on"}, "invalid AddrPort", 0},
		{[]string{"f", "number"}, "invalid AddrPort", 0},
		{[]string{"g", "to"}, "invalid AddrPort", 0},
		{[]string{"f"}, "invalid AddrPort", 0},
		{[]string{"f", "name"}, "invalid AddrPort", 1},
	} {
		if got := l.Destination(md, tc.path).String(); got != tc.want {
			t.Errorf("%v: %s, want %s", tc.path, got, tc.want)
		}
		if got := m.stat(t, "cluster.c.original_dst_host_invalid"); got != tc.invalid {
			t.Errorf("%v: %d invalid, want %d", tc.path, got, tc.invalid)
		}
	}
}
