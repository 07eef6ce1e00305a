package route

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// hostOf is a virtual host whose one route leads to a cluster of its name.
func hostOf(name string, domains ...string) *xdsresource.VirtualHost {
	return &xdsresource.VirtualHost{Name: name, Domains: domains, Routes: []*xdsresource.Route{
		{Match: xdsresource.RouteMatch{Path: "/"}, Forward: &xdsresource.RouteAction{Cluster: name}},
	}}
}

// leads says where a request for a host is led.
func leads(t *Table, host string) string {
	h := &header.Map{}
	h.AddName(":authority", []byte(host))
	h.AddName(":path", []byte("/"))
	h.AddName(":method", []byte("GET"))
	e := t.Match(&Request{Headers: h})
	if e == nil {
		return ""
	}
	return e.Forward.Targets[0].Cluster
}

func add(t *testing.T, e *Edit, of *Table, cfg *xdsresource.VirtualHost) *VirtualHost {
	t.Helper()
	v, err := of.CompileHost(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Add(v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestEdit: a table is changed beside the one that is in use, and the change undone leaves what was.
func TestEdit(t *testing.T) {
	base, err := Compile(&xdsresource.RouteConfig{Name: "r", VirtualHosts: []*xdsresource.VirtualHost{
		hostOf("own", "own", "*.own.io"), hostOf("web", "web.*", "*.b.own.io"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := func(name string, tbl *Table, pairs string) {
		t.Helper()
		for p := range strings.FieldsSeq(pairs) {
			host, to, _ := strings.Cut(p, "=")
			if got := leads(tbl, host); got != to {
				t.Errorf("%s: %s is led to %q, want %q", name, host, got, to)
			}
		}
	}
	const first = "own=own x.own.io=own web.x=web x.b.own.io=web other= a.c.own.io=own"
	want("base", base, first)

	e := base.Edit()
	a := add(t, e, base, hostOf("a", "a", "*.c.own.io", "*"))
	b := add(t, e, base, hostOf("b", "b", "webx.*"))
	with := e.Table()
	want("with a and b", with, "own=own a=a a.c.own.io=a other=a b=b webx.y=b web.x=web x.b.own.io=web")
	want("base beside it", base, first)
	if got := with.VirtualHosts(); len(got) != 4 || got[0] != base.vhosts[0] || got[3] != b {
		t.Error("what did not change is not shared, or not in order")
	}

	e = with.Edit()
	e.Remove(a)
	if err := e.Add(a); err != nil { // it comes back
		t.Fatal(err)
	}
	e.Remove(b)
	without := e.Table()
	want("without b", without, "a=a other=a b=a webx.y=a a.c.own.io=a")
	if len(without.vhosts) != 3 {
		t.Errorf("%d virtual hosts, want 3", len(without.vhosts))
	}
	e = without.Edit()
	e.Remove(a)
	want("as before", e.Table(), first)
	want("with a and b, still", with, "b=b a=a")
}

// TestEditConflict: a domain that another virtual host has keeps a virtual host out, with all of its domains.
func TestEditConflict(t *testing.T) {
	base, err := Compile(&xdsresource.RouteConfig{Name: "r", VirtualHosts: []*xdsresource.VirtualHost{hostOf("own", "own", "*.io", "web.*", "*")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, taken := range []string{"own", "*.io", "web.*", "*", "free"} {
		v, err := base.CompileHost(hostOf("new", "free", "*.free", taken))
		if err != nil {
			t.Fatal(err)
		}
		e := base.Edit()
		err = e.Add(v)
		other := "own"
		if taken == "free" {
			other = "new"
		}
		if want := fmt.Sprintf("virtual host %q: domain %q is already used by virtual host %q", "new", taken, other); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		tbl := e.Table()
		if len(tbl.vhosts) != 1 || leads(tbl, "free") != "own" || leads(tbl, "x.free") != "own" {
			t.Errorf("%s: something of it is in the table", taken)
		}
	}
}

// TestCompileHost: a virtual host that comes apart inherits, is held to the table's bounds, and tells whether
// it is used.
func TestCompileHost(t *testing.T) {
	base, err := Compile(&xdsresource.RouteConfig{
		Name: "r", MaxDirectResponseBodySize: 3,
		Mirrors: []xdsresource.MirrorPolicy{{Cluster: "copy"}}, FilterConfigs: map[string]any{"f": "table"},
		VirtualHosts: []*xdsresource.VirtualHost{hostOf("own", "own")},
	})
	if err != nil {
		t.Fatal(err)
	}
	e := base.Edit()
	cfg := hostOf("a", "a")
	cfg.Routes = append(cfg.Routes, &xdsresource.Route{
		Match: xdsresource.RouteMatch{Path: "/"}, Forward: &xdsresource.RouteAction{Cluster: "c", Mirrors: []xdsresource.MirrorPolicy{{Cluster: "its"}}},
	})
	a := add(t, e, base, cfg)
	tbl := e.Table()
	for i, want := range []string{"copy", "its"} {
		if m := a.Entries[i].Forward.Mirrors; len(m) != 1 || m[0].Cluster != want {
			t.Errorf("route %d is mirrored to %v, want %s", i, m, want)
		}
	}
	if a.Entries[0].Filters["f"] != "table" || a.Entries[0].Config != base.Config {
		t.Error("does not inherit the table's filter configurations")
	}
	if a.TakeUsed() {
		t.Error("used before a request")
	}
	leads(tbl, "a")
	if !a.TakeUsed() || a.TakeUsed() {
		t.Error("a request's use is told once")
	}
	if !tbl.ServesHost([]byte("A")) || tbl.ServesHost([]byte("b")) || a.TakeUsed() {
		t.Error("who asks whether a host is served uses nothing")
	}
	cfg = hostOf("b", "b")
	cfg.Routes[0] = &xdsresource.Route{Direct: &xdsresource.DirectResponse{Body: []byte("four")}}
	if _, err := base.CompileHost(cfg); err == nil || !strings.Contains(err.Error(), "max_direct_response_body_size_bytes") {
		t.Errorf("error %v for a body that is too long", err)
	}
	if _, err := base.CompileHost(&xdsresource.VirtualHost{Name: "c"}); err == nil || !strings.Contains(err.Error(), "has no domains") {
		t.Errorf("error %v for no domains", err)
	}
}

// BenchmarkEdit: one of 1,000 virtual hosts of four domains is replaced.
func BenchmarkEdit(b *testing.B) {
	cfg := &xdsresource.RouteConfig{Name: "r"}
	t, err := Compile(cfg)
	if err != nil {
		b.Fatal(err)
	}
	e := t.Edit()
	host := func(i int) *VirtualHost {
		n := fmt.Sprintf("service-%d", i)
		v, err := t.CompileHost(hostOf(n, n, n+".ns", n+".ns.svc", n+".ns.svc.cluster.local"))
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
	var last *VirtualHost
	for i := range 1000 {
		last = host(i)
		if err := e.Add(last); err != nil {
			b.Fatal(err)
		}
	}
	t = e.Table()
	b.ReportAllocs()
	for b.Loop() {
		e := t.Edit()
		e.Remove(last)
		last = host(999)
		if err := e.Add(last); err != nil {
			b.Fatal(err)
		}
		t = e.Table()
	}
}
