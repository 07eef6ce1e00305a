package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// meshConfig writes mesh.yaml, the mesh's own settings, for the rest of the test.
func (m *mesh) meshConfig(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(m.state, "mesh.yaml")
	if err := runfile.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	})
}

// O19: half of version 1's answers are failures; retries hide them.
func TestRetriesHideFailures(t *testing.T) {
	const calls = 200
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "mesh/catalog-all-v1.yaml")
	m.settle(t, webappHost, "/api/catalog", isV1)
	m.fault(t, "catalog", "v1", "--rate", "0.5", "--status", "500")
	count := func(calls int) (failed int) {
		for range calls {
			a, err := m.get(webappHost, "/api/catalog")
			if err != nil {
				t.Fatal(err)
			}
			if a.code != http.StatusOK {
				failed++
			}
		}
		return failed
	}
	// Mean 100, standard deviation 7.
	if failed := count(calls); failed < 65 || failed > 135 {
		t.Errorf("without retries %d of %d fail, want about half", failed, calls)
	}
	// Three more tries leave one failure in 16: mean 12.5, standard deviation 3.4.
	m.apply(t, "resilience/catalog-retries.yaml")
	eventually(t, settleTime, func() error {
		if failed := count(calls); failed > 30 {
			return fmt.Errorf("with three retries %d of %d fail, want about one in 16", failed, calls)
		}
		return nil
	})
	// Twenty leave one in two million.
	m.applyText(t, `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: catalog, namespace: istioinaction}
spec:
  hosts: [catalog]
  http:
  - route:
    - destination: {host: catalog, subset: version-v1}
    retries: {attempts: 20, retryOn: 5xx, perTryTimeout: 2s}
`)
	eventually(t, settleTime, func() error {
		if failed := count(calls / 2); failed > 0 {
			return fmt.Errorf("%d of %d fail", failed, calls/2)
		}
		return nil
	})
}

// O2: a replica that does not listen is ejected, and no request fails any more.
func TestDeadReplicaIsEjected(t *testing.T) {
	m := shared
	m.applyText(t, `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: catalog, namespace: istioinaction}
spec:
  host: catalog
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 5, interval: 1s, baseEjectionTime: 3m, maxEjectionPercent: 100}
  subsets:
  - name: version-v1
    labels: {version: v1}
`)
	m.apply(t, "mesh/catalog-all-v1.yaml")
	m.settle(t, webappHost, "/api/catalog", isV1)
	dead := m.run.Block + ".1.200"
	m.applyText(t, fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: catalog-v1-dead, namespace: istioinaction}
spec:
  address: %s
  labels: {app: catalog, version: v1}
  serviceAccount: catalog
`, dead))
	const cluster = "outbound|80|version-v1|catalog.istioinaction.svc.cluster.local"
	eventually(t, 20*time.Second, func() error {
		for range 10 {
			if _, err := m.get(webappHost, "/api/catalog"); err != nil {
				return err
			}
		}
		out := m.must(t, "proxy-config", "endpoint", "deploy/webapp.istioinaction", "--cluster", cluster)
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, dead+":") && strings.Contains(line, "FAILED") {
				return nil
			}
		}
		return fmt.Errorf("not ejected:\n%s", out)
	})
	for range 200 {
		m.mustGet(t, webappHost, "/api/catalog")
	}
}

// A slow catalog is cut off by a timeout.
func TestTimeout(t *testing.T) {
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "mesh/catalog-all-v1.yaml")
	m.settle(t, webappHost, "/api/catalog", isV1)
	m.fault(t, "catalog", "v1", "--rate", "1", "--delay", "3s")
	m.apply(t, "resilience/catalog-timeout.yaml")
	eventually(t, settleTime, func() error {
		a, err := m.get(webappHost, "/api/catalog")
		if err != nil {
			return err
		}
		if a.code != http.StatusGatewayTimeout || !strings.Contains(a.body, "upstream request timeout") {
			return fmt.Errorf("%d %s", a.code, a.body)
		}
		return nil
	})
}

// Whatever is killed, what does not need it goes on without a failed request, and it is back within 5 s.
func TestKill(t *testing.T) {
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "mesh/catalog-all-v1.yaml")
	m.settle(t, webappHost, "/api/catalog", isV1)
	// Inside the mesh, as webapp itself would ask.
	inside := proxied(t, m.address(t, "webapp-1")+":15080")
	throughGateway := func() (answer, error) { return m.get(webappHost, "/api/catalog") }
	throughSidecar := func() (answer, error) {
		return fetch(inside, "http://catalog.istioinaction:80/items", "catalog.istioinaction:80")
	}
	for _, tc := range []struct {
		victim string
		others func() (answer, error) // requests that do not need the victim
		again  func() (answer, error) // a request that does
	}{
		{"control-plane", throughGateway, throughGateway},
		{"catalog-v2-1.sidecar", throughGateway, nil},
		{"catalog-v2-1", throughGateway, nil},
		{"forum-1.sidecar", throughGateway, func() (answer, error) { return m.get(webappHost, "/api/users") }},
		{"forum-1", throughGateway, func() (answer, error) { return m.get(webappHost, "/api/users") }},
		{"istio-ingressgateway-1", throughSidecar, throughGateway},
		{"webapp-1.sidecar", func() (answer, error) { return m.get(catalogGW, "/items") }, throughGateway},
	} {
		t.Run(tc.victim, func(t *testing.T) {
			if tc.victim == "webapp-1.sidecar" {
				m.apply(t, "gateway/catalog.yaml")
				m.settle(t, catalogGW, "/items", func(a answer) bool { return a.code == http.StatusOK })
			}
			pid, err := m.pid(tc.victim)
			if err != nil || pid == 0 {
				t.Fatalf("pid %d: %v", pid, err)
			}
			load := startLoad(tc.others, 4, 5*time.Millisecond)
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			killed := time.Now()
			eventually(t, 5*time.Second, func() error {
				if now, err := m.pid(tc.victim); err != nil || now == 0 || now == pid {
					return fmt.Errorf("pid %d, was %d: %v", now, pid, err)
				}
				out := m.must(t, "demo", "status")
				if !statusReady(out, tc.victim) {
					return fmt.Errorf("not ready:\n%s", out)
				}
				if tc.again == nil {
					return nil
				}
				a, err := tc.again()
				if err == nil && a.code != http.StatusOK {
					err = fmt.Errorf("%d %s", a.code, a.body)
				}
				return err
			})
			t.Logf("back after %v", time.Since(killed).Round(time.Millisecond))
			// What comes after is part of it: reconnecting, and a fresh control plane's first answers.
			load.more(t, 300)
			load.end(t, 300)
		})
	}
	// The new control plane serves changes to old proxies.
	m.apply(t, "mesh/catalog-header-v2.yaml")
	m.settle(t, webappHost, "/api/catalog", isV2, "x-istio-cohort", "internal")
}

func statusReady(table, process string) bool {
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) >= 3 && f[0] == process {
			return f[2] == "ready"
		}
	}
	return false
}
