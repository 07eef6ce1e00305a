package server

import (
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestNamedRoutes(t *testing.T) {
	inline := &xdsresource.RouteConfig{Name: "inline"}
	file := xdsresource.ConfigSource{Path: "/routes"}
	for _, c := range []struct {
		name string
		hcm  xdsresource.HTTPConnectionManager
		want []resource
	}{
		{"inline", xdsresource.HTTPConnectionManager{Routes: inline}, nil},
		{"by name", xdsresource.HTTPConnectionManager{RouteConfigName: "80", RouteSource: file}, []resource{{file, "80"}}},
		{"scopes", xdsresource.HTTPConnectionManager{Scopes: &xdsresource.ScopedRoutes{Source: file, Scopes: []xdsresource.RouteScope{
			{Name: "a", RouteConfigName: "a"}, {Name: "b", Routes: inline}, {Name: "c", RouteConfigName: "c"},
		}}}, []resource{{file, "a"}, {file, "c"}}},
	} {
		if got := namedRoutes(&c.hcm); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
