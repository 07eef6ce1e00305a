package cluster

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/dnscache"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// dynamic is a cluster whose hosts are the names of a cache.
func dynamic(name string, cache *xdsresource.DNSCache) *xdsresource.Cluster {
	c := static(name)
	c.Type, c.Names, c.Endpoints = xdsresource.ClusterDynamic, cache, nil
	return c
}

// TestDynamic: the hosts of a dynamic forward proxy cluster are the names that somebody has resolved, and a request gets that of its own name.
func TestDynamic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeResolver{names: map[string][]string{"a.test": {"10.0.0.1", "10.0.0.9"}, "b.test": {"10.0.0.2"}}}
		m := newMesh(t, 1, r)
		m.cfg.Names = dnscache.NewSet(dnscache.Deps{
			Loops: []dnscache.Loop{m.workers[0]}, Stats: m.store, Logger: slog.New(slog.DiscardHandler),
			Resolver: func(*xdsresource.DNSResolver) dnscache.Resolver { return r },
		})
		cache := &xdsresource.DNSCache{Name: "c", DNS: xdsresource.DNS{Refresh: time.Minute}, HostTTL: 2 * time.Minute, MaxHosts: 10, MaxPending: 10}
		names, done, err := m.cfg.Names.Use(cache)
		if err != nil {
			t.Fatal(err)
		}
		if !closed(m.update(t, dynamic("d", cache))) {
			t.Error("not warm though nothing is waited for")
		}
		l := m.Local(0).Get("d")
		pick := func(authority string) string {
			if h := l.Pick(&lb.Context{Authority: []byte(authority)}); h != nil {
				return h.Host.Name
			}
			return ""
		}
		load := func(authority string) {
			names.Local(0).Load([]byte(authority), 80, func(dnscache.Answer) {
				// What the request finds when it goes on.
				if pick(authority) == "" && !strings.HasPrefix(authority, "no") {
					t.Errorf("%s is resolved, but has no host", authority)
				}
			})
			for range 2 {
				synctest.Wait()
				m.run()
			}
		}
		if got := pick("a.test"); got != "" {
			t.Errorf("a name that nobody has asked for has the host %s", got)
		}
		load("a.test")
		load("B.test:8080")
		load("no.test")
		for _, tt := range [][2]string{{"A.test", "10.0.0.1:80"}, {"a.test:80", "10.0.0.1:80"}, {"a.test:81", ""}, {"b.test:8080", "10.0.0.2:8080"}, {"b.test", ""}, {"no.test", ""}, {"", ""}, {"a b", ""}} {
			if got := pick(tt[0]); got != tt[1] {
				t.Errorf("%q has the host %q, want %q", tt[0], got, tt[1])
			}
		}
		if h := l.Pick(&lb.Context{Authority: []byte("a.test"), Port: 80}); h.Host.Hostname != "a.test:80" || len(h.Host.Info().Addresses) != 2 {
			t.Errorf("host %q with %v", h.Host.Hostname, h.Host.Info().Addresses)
		}
		if n := m.stat(t, "cluster.d.membership_total"); n != 2 {
			t.Errorf("%d members", n)
		}
		// A second cluster of the same cache has what is there; one with other settings of it is refused.
		m.update(t, dynamic("e", cache))
		if h := m.Local(0).Get("e").Pick(&lb.Context{Authority: []byte("a.test")}); h == nil {
			t.Error("a cluster that came later does not have the name")
		}
		other := *cache
		other.MaxHosts = 11
		if _, err := m.Update(dynamic("f", &other)); err == nil || !strings.Contains(err.Error(), "different settings") {
			t.Errorf("other settings: %v", err)
		}
		l.hosts[l.Pick(&lb.Context{Authority: []byte("a.test")}).Host].Host.setFlag(failedActiveHC, true)
		if got := pick("a.test"); got != "" {
			t.Errorf("a host that is not well is picked: %s", got)
		}
		for range 3 { // only b.test is used
			time.Sleep(time.Minute)
			pick("b.test:8080")
			for range 2 {
				synctest.Wait()
				m.run()
			}
		}
		if n := m.stat(t, "cluster.d.membership_total"); n != 1 || pick("b.test:8080") == "" {
			t.Errorf("%d members", n)
		}
		m.Remove("d")
		m.Remove("e")
		done()
		m.cfg.Names.Close()
		m.run()
		if got := pick("b.test:8080"); got != "" {
			t.Errorf("a cluster that is gone has the host %s", got)
		}
	})
}
