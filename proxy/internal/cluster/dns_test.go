package cluster

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

type fakeResolver struct {
	mu    sync.Mutex
	names map[string][]string
}

func (r *fakeResolver) Resolve(_ context.Context, host string, _ xdsresource.DNSFamily) ([]netip.Addr, time.Duration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	as, ok := r.names[host]
	if !ok {
		return nil, 0, errors.New("no such host")
	}
	var out []netip.Addr
	for _, a := range as {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, 0, nil
}

func (r *fakeResolver) set(host string, addrs ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if addrs == nil {
		delete(r.names, host)
		return
	}
	r.names[host] = addrs
}

func TestDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeResolver{names: map[string][]string{"web.test": {"10.0.0.2", "10.0.0.1"}, "one.test": {"10.1.0.1", "10.1.0.2"}}}
		m := newMesh(t, 1, r)
		dns := func(name, host string, typ xdsresource.ClusterType) *xdsresource.Cluster {
			c := static(name)
			c.Type, c.DNS.Refresh = typ, 5*time.Second
			c.Endpoints.Localities[0].Endpoints = []xdsresource.Endpoint{{Address: xdsresource.Address{Host: host, Port: 80}, Weight: 1}}
			return c
		}
		strict := m.update(t, dns("strict", "web.test", xdsresource.ClusterStrictDNS))
		logical := m.update(t, dns("logical", "one.test", xdsresource.ClusterLogicalDNS))
		missing := m.update(t, dns("missing", "missing.test", xdsresource.ClusterStrictDNS))
		if closed(strict) {
			t.Error("warm before it was resolved")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = m.Run(ctx) }()
		synctest.Wait()
		if !closed(strict) || !closed(logical) || !closed(missing) {
			t.Fatal("not warm after the first resolution")
		}
		l := m.Local(0)
		if got := picks(l.Get("strict"), 10); got["10.0.0.1:80"] != 5 || got["10.0.0.2:80"] != 5 {
			t.Errorf("STRICT_DNS picks %v", got)
		}
		if h := l.Get("strict").Pick(&lb.Context{}); h.Host.Hostname != "web.test" {
			t.Errorf("hostname %q", h.Host.Hostname)
		}
		if got := picks(l.Get("logical"), 10); got["10.1.0.1:80"] != 10 {
			t.Errorf("LOGICAL_DNS picks %v", got)
		}
		if got := picks(l.Get("missing"), 1); got[""] != 1 {
			t.Errorf("unresolved picks %v", got)
		}
		// A failure keeps the last good answer; a rotated one keeps the address in use.
		r.set("web.test")
		r.set("one.test", "10.1.0.2", "10.1.0.1")
		r.set("missing.test", "10.2.0.1")
		advance(6 * time.Second)
		m.run()
		if got := picks(l.Get("strict"), 10); got["10.0.0.1:80"] != 5 {
			t.Errorf("after a failure picks %v", got)
		}
		if got := picks(l.Get("logical"), 10); got["10.1.0.1:80"] != 10 {
			t.Errorf("after a rotation picks %v", got)
		}
		if got := l.Get("logical").Pick(&lb.Context{}).Host.Info().Addresses; len(got) != 2 || got[1].IP.String() != "10.1.0.2" {
			t.Errorf("the host's addresses are %v, want both", got)
		}
		if got := picks(l.Get("missing"), 1); got["10.2.0.1:80"] != 1 {
			t.Errorf("once resolved picks %v", got)
		}
		r.set("one.test", "10.1.0.9")
		advance(6 * time.Second)
		m.run()
		if got := picks(l.Get("logical"), 10); got["10.1.0.9:80"] != 10 {
			t.Errorf("after a move picks %v", got)
		}
		cancel()
		<-done
	})
}

// TestWaitForWarmOnInit: without it a cluster serves, what it has, before its names are resolved.
func TestWaitForWarmOnInit(t *testing.T) {
	for _, atOnce := range []bool{false, true} {
		m := newMesh(t, 1, &fakeResolver{})
		c := static("c")
		c.Type, c.DNS.WarmAtOnce = xdsresource.ClusterStrictDNS, atOnce
		c.Endpoints.Localities[0].Endpoints = []xdsresource.Endpoint{{Address: xdsresource.Address{Host: "web.test", Port: 80}}, endpoint("10.0.0.1:80")}
		if got := closed(m.update(t, c)); got != atOnce {
			t.Errorf("warm %v before the first resolution, want %v", got, atOnce)
		}
		if l := m.Local(0).Get("c"); atOnce && picks(l, 3)["10.0.0.1:80"] != 3 {
			t.Errorf("picks %v", picks(l, 3))
		}
	}
}
