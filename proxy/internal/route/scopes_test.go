package route

import (
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestScopes(t *testing.T) {
	index := func(i int) xdsresource.ScopeFragment {
		return xdsresource.ScopeFragment{Header: "x-scope", Separator: ",", Index: i}
	}
	byKey := func(key string) xdsresource.ScopeFragment {
		return xdsresource.ScopeFragment{Header: "x-scope", Separator: ";", ByKey: true, KeySeparator: "=", Key: key}
	}
	whole := xdsresource.ScopeFragment{Header: "x-whole"}
	for _, c := range []struct {
		name   string
		key    []xdsresource.ScopeFragment
		want   []string // the key that is found
		header string
		whole  string
	}{
		{"first element", []xdsresource.ScopeFragment{index(0)}, []string{"a"}, "a,b", ""},
		{"second element", []xdsresource.ScopeFragment{index(1)}, []string{"b"}, "a,b", ""},
		{"no such element", []xdsresource.ScopeFragment{index(2)}, nil, "a,b", ""},
		{"empty element", []xdsresource.ScopeFragment{index(1)}, []string{""}, "a,,b", ""},
		{"spaces stay", []xdsresource.ScopeFragment{index(1)}, []string{" b"}, "a, b", ""},
		{"whole value", []xdsresource.ScopeFragment{whole}, []string{"a,b"}, "", "a,b"},
		{"key", []xdsresource.ScopeFragment{byKey("b")}, []string{"2"}, "a=1;b=2", ""},
		{"first of equal keys", []xdsresource.ScopeFragment{byKey("a")}, []string{"1"}, "a=1;a=2", ""},
		{"key without separator", []xdsresource.ScopeFragment{byKey("a")}, []string{""}, "b=2;a", ""},
		{"separator in the value", []xdsresource.ScopeFragment{byKey("a")}, []string{"1=2"}, "a=1=2", ""},
		{"empty elements", []xdsresource.ScopeFragment{byKey("a")}, []string{"1"}, ";;a=1", ""},
		{"no such key", []xdsresource.ScopeFragment{byKey("c")}, nil, "a=1;b=2", ""},
		{"no header", []xdsresource.ScopeFragment{index(0)}, nil, "", "a"},
		{"two fragments", []xdsresource.ScopeFragment{index(0), whole}, []string{"a", "b"}, "a", "b"},
		{"fragments are kept apart", []xdsresource.ScopeFragment{index(0), whole}, []string{"ab", "c"}, "ab", "c"},
		{"one of two is missing", []xdsresource.ScopeFragment{index(0), whole}, nil, "a", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := &xdsresource.ScopedRoutes{Key: c.key}
			table := &Table{}
			cfg.Scopes = append(cfg.Scopes, xdsresource.RouteScope{Name: "other", Key: make([]string, len(c.key)), RouteConfigName: "other"})
			cfg.Scopes[0].Key[0] = "other"
			if c.want != nil {
				cfg.Scopes = append(cfg.Scopes, xdsresource.RouteScope{Name: "s", Key: c.want, RouteConfigName: "wanted"})
			}
			s, err := NewScopes(cfg, func(name string) func() *Table {
				return func() *Table {
					if name == "wanted" {
						return table
					}
					return nil
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			h := &header.Map{}
			if c.header != "" {
				h.AddName("x-scope", []byte(c.header))
				h.AddName("x-scope", []byte("never looked at"))
			}
			if c.whole != "" {
				h.AddName("x-whole", []byte(c.whole))
			}
			if found := s.Find(h) == table; found != (c.want != nil) {
				t.Errorf("found %v", found)
			}
			if n := testing.AllocsPerRun(100, func() { s.Find(h) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
	if _, err := NewScopes(&xdsresource.ScopedRoutes{Scopes: []xdsresource.RouteScope{{Name: "s", Routes: &xdsresource.RouteConfig{
		VirtualHosts: []*xdsresource.VirtualHost{{Name: "v", Domains: []string{"a", "a"}}},
	}}}}, nil); err == nil {
		t.Error("a route configuration that cannot be compiled is taken")
	}
}
