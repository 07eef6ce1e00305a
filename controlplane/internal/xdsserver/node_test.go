package xdsserver

import (
	"testing"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

func TestLacks(t *testing.T) {
	extension := func(types ...string) *corepb.Extension { return &corepb.Extension{Name: "x", TypeUrls: types} }
	router := extension("envoy.config.filter.http.router.v2.Router", "envoy.extensions.filters.http.router.v3.Router")
	for _, tt := range []struct {
		name       string
		extensions []*corepb.Extension
		want       model.IstioFilters
	}{
		{"our own proxy lists none", nil, 0},
		{"an Envoy that lists no types", []*corepb.Extension{extension()}, 0},
		{"Envoy", []*corepb.Extension{router}, model.PeerMetadata | model.IstioStats | model.MetadataExchange},
		{"Istio's proxy", []*corepb.Extension{router, extension("io.istio.http.peer_metadata.Config"), extension("stats.PluginConfig"),
			extension("envoy.tcp.metadataexchange.config.MetadataExchange")}, 0},
		{"a build with one of them", []*corepb.Extension{router, extension("stats.PluginConfig")}, model.PeerMetadata | model.MetadataExchange},
	} {
		p, err := proxyOf(&corepb.Node{Id: "sidecar~10.0.0.1~web.shop~shop.svc.cluster.local", Extensions: tt.extensions}, spiffe.ID{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Lacks != tt.want {
			t.Errorf("%s: lacks %b, want %b", tt.name, p.Lacks, tt.want)
		}
	}
}
