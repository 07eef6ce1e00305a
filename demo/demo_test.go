package demo

import (
	"os"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/localmesh"
	"github.com/lateen-mesh/lateen/workload"
)

func place(t *testing.T) localmesh.Place {
	t.Helper()
	dir := t.TempDir()
	return localmesh.Place{
		Site: workload.Site{Executable: "/bin/lateen", Dir: dir}, Ports: localmesh.Ports{8080, 8443, 31400}, StateDir: dir, Block: "127.77", StateFlag: "/x",
	}
}

func TestWorkloads(t *testing.T) {
	addresses := map[string]bool{}
	for _, w := range workloads(place(t)) {
		if w.Type == workload.Sidecar {
			if err := w.Validate(); err != nil {
				t.Errorf("%s: %v", w.Name, err)
			}
		}
		for _, a := range []string{w.IP, w.AppIP} {
			if a != "" && addresses[a] {
				t.Errorf("two use %s", a)
			}
			addresses[a] = true
		}
	}
}

func TestSeed(t *testing.T) {
	p, s := place(t), &Shop{}
	if err := s.seed(p); err != nil {
		t.Fatal(err)
	}
	if !s.fresh {
		t.Error("an empty folder is not fresh")
	}
	for _, path := range []string{
		"istioinaction/service/webapp.yaml", "istioinaction/service/catalog.yaml", "istioinaction/service/forum.yaml",
		"istioinaction/gateway/webapp-gateway.yaml", "istioinaction/virtualservice/webapp-vs-from-gw.yaml", "istio-system/service/istio-ingressgateway.yaml",
	} {
		raw, err := os.ReadFile(p.Path("config", path))
		if err != nil {
			t.Error(err)
			continue
		}
		if set, err := config.Load([]config.File{{Name: path, Data: raw}}, config.LoadOptions{}); err != nil || len(set.All()) != 1 {
			t.Errorf("%s: %v", path, err)
		}
	}
	// What the user has changed stays, except for the gateway's port.
	mine := p.Path("config", "istioinaction", "service", "catalog.yaml")
	if err := os.WriteFile(mine, []byte("# mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(p.Path("config", "istioinaction", "service", "forum.yaml")); err != nil {
		t.Fatal(err)
	}
	again := &Shop{}
	p.Ports = localmesh.Ports{9090, 9443, 9400}
	if err := again.seed(p); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(mine); err != nil || string(raw) != "# mine\n" || again.fresh {
		t.Errorf("%s %v, fresh %v", raw, err, again.fresh)
	}
	if _, err := os.Stat(p.Path("config", "istioinaction", "service", "forum.yaml")); err == nil {
		t.Error("a deleted object came back")
	}
	if raw, err := os.ReadFile(p.Path("config", "istio-system", "service", "istio-ingressgateway.yaml")); err != nil || !strings.Contains(string(raw), "targetPort: 9090") {
		t.Errorf("%s %v", raw, err)
	}
}

func TestTable(t *testing.T) {
	p := place(t)
	s := &Shop{workloads: workloads(p)}
	var b strings.Builder
	if err := s.Table(&b, p); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"WHAT", "http://localhost:8080", "catalog-v2", "127.77.1.3:3000", "http://127.77.2.1:8000", "curl localhost:8080/api/catalog", "lateen --state-dir /x proxy-status"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > 120 {
			t.Errorf("a long line: %s", line)
		}
	}
}
