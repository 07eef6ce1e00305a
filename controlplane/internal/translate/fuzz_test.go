package translate

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

// FuzzYAMLToResources: whatever objects people write that config accepts, they become a
// snapshot and valid resources, for every kind of proxy, and never a panic.
func FuzzYAMLToResources(f *testing.F) {
	files, _ := filepath.Glob("testdata/*/in.yaml")
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	var proxies []*model.Proxy
	for _, name := range []string{"shop/node-webapp.json", "shop/node-gateway.json", "redirected/node-catalog.json"} {
		proxies = append(proxies, readNode(f, filepath.Join("testdata", name)).proxy(f))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		// Objects that are right stay in the set beside those that are not.
		set, _ := config.Load([]config.File{{Name: "fuzz.yaml", Data: data}}, config.LoadOptions{})
		b := snapshot.New()
		var s *model.Snapshot
		for _, o := range set.All() {
			s, _ = b.Update(snapshot.Set("config", o))
		}
		if s == nil {
			return
		}
		for _, p := range proxies {
			check(t, resources(s, p))
		}
		for _, o := range set.All() {
			s, _ = b.Update(snapshot.Delete("config", o.Key()))
		}
		if s.Services.Len()+s.Endpoints.Len()+s.ServicesOf.Len()+s.MeshRules.Len()+s.GatewayRules.Len()+s.MergedRules.Len()+s.ServicesByPort.Len()+len(s.RuleLabels) > 0 {
			t.Errorf("deleting everything leaves something: %+v", s)
		}
	})
}
