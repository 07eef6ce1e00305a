package e2e

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lateen-mesh/lateen/sample"
)

func TestShopAsItStarts(t *testing.T) {
	m := shared
	for host, paths := range map[string][]string{
		webappHost:  {"/", "/api/catalog", "/api/catalog/2", "/api/users"},
		"localhost": {"/api/catalog"},
	} {
		for _, path := range paths {
			m.mustGet(t, host, path)
		}
	}
	a := m.mustGet(t, webappHost, "/api/catalog")
	if server := a.header.Get("Server"); server != "istio-envoy" {
		t.Errorf("server: %s", server)
	}
	if a, err := m.get("nobody.example", "/"); err != nil || a.code != http.StatusNotFound {
		t.Errorf("a host that no Gateway has: %d %v", a.code, err)
	}
	// No rule for catalog: both versions answer.
	eventually(t, settleTime, func() error {
		var v1, v2 int
		for range 40 {
			if m.mustGet(t, webappHost, "/api/catalog").v2() {
				v2++
			} else {
				v1++
			}
		}
		if v1 == 0 || v2 == 0 {
			return fmt.Errorf("%d from v1, %d from v2", v1, v2)
		}
		return nil
	})
}

func TestAllToV1(t *testing.T) {
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "mesh/catalog-all-v1.yaml")
	m.settle(t, webappHost, "/api/catalog", isV1)
	for range 200 {
		if m.mustGet(t, webappHost, "/api/catalog").v2() {
			t.Fatal("version 2 answered")
		}
	}
}

// O4: the header picks version 2 at the gateway.
func TestHeaderToV2AtTheGateway(t *testing.T) {
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "gateway/catalog.yaml", "gateway/catalog-header-v2.yaml")
	m.settle(t, catalogGW, "/items", isV1)
	m.settle(t, catalogGW, "/items", isV2, "x-istio-cohort", "internal")
	for range 100 {
		if m.mustGet(t, catalogGW, "/items").v2() {
			t.Fatal("version 2 answered without the header")
		}
		if !m.mustGet(t, catalogGW, "/items", "x-istio-cohort", "internal").v2() {
			t.Fatal("version 1 answered with the header")
		}
		if m.mustGet(t, catalogGW, "/items", "x-istio-cohort", "external").v2() {
			t.Fatal("version 2 answered another cohort")
		}
	}
}

// O5: the header picks version 2 deep in the call graph, where webapp has passed it on.
func TestHeaderToV2InsideTheMesh(t *testing.T) {
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "mesh/catalog-header-v2.yaml")
	m.settle(t, webappHost, "/api/catalog", isV1)
	m.settle(t, webappHost, "/api/catalog", isV2, "x-istio-cohort", "internal")
	for range 100 {
		if m.mustGet(t, webappHost, "/api/catalog").v2() {
			t.Fatal("version 2 answered without the header")
		}
		if !m.mustGet(t, webappHost, "/api/catalog", "x-istio-cohort", "internal").v2() {
			t.Fatal("version 1 answered with the header")
		}
	}
}

// O6: one request in ten goes to version 2.
func TestCanary(t *testing.T) {
	const calls, share, workers = 2000, 0.1, 4
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "mesh/catalog-all-v1.yaml")
	m.settle(t, webappHost, "/api/catalog", isV1)
	m.apply(t, "mesh/catalog-90-10.yaml")
	eventually(t, settleTime, func() error {
		for range 50 {
			if m.mustGet(t, webappHost, "/api/catalog").v2() {
				return nil
			}
		}
		return fmt.Errorf("version 2 does not answer")
	})
	var v2, failed atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range calls / workers {
				switch a, err := m.get(webappHost, "/api/catalog"); {
				case err != nil || a.code != http.StatusOK:
					failed.Add(1)
				case a.v2():
					v2.Add(1)
				}
			}
		})
	}
	group.Wait()
	// 4.5 standard deviations: a right split fails once in 150,000 runs.
	mean, width := calls*share, 4.5*math.Sqrt(calls*share*(1-share))
	if got := float64(v2.Load()); failed.Load() > 0 || math.Abs(got-mean) > width {
		t.Errorf("%v of %d from version 2, want %v ± %.0f; %d failed", got, calls, mean, width, failed.Load())
	}
	t.Logf("%d of %d from version 2", v2.Load(), calls)
}

// O8: version 2 sees each request too, under a shadow host, and its answer is dropped.
func TestMirror(t *testing.T) {
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "mesh/catalog-all-v1.yaml")
	m.settle(t, webappHost, "/api/catalog", isV1)
	m.apply(t, "mesh/catalog-mirror.yaml")
	shadowOf := func(id string) (original, shadow *sample.Seen) {
		return find(t, m.app(t, "catalog-v1-1"), id), find(t, m.app(t, "catalog-v2-1"), id)
	}
	n := 0
	var original, shadow *sample.Seen
	eventually(t, settleTime, func() error {
		n++
		id := fmt.Sprintf("ffffffff-0000-4000-8000-%012d", n) // one that is not traced: the ids of others change
		if m.mustGet(t, webappHost, "/api/catalog", "x-request-id", id).v2() {
			t.Fatal("the mirror's answer reached the caller")
		}
		if original, shadow = shadowOf(id); original == nil || shadow == nil {
			return fmt.Errorf("version 1 saw it: %v, version 2 saw it: %v", original != nil, shadow != nil)
		}
		return nil
	})
	if original.Host != "catalog.istioinaction:80" || shadow.Host != "catalog.istioinaction-shadow:80" {
		t.Errorf("hosts %s and %s", original.Host, shadow.Host)
	}
	o, s := original.Header, shadow.Header
	if o.Get("X-B3-Traceid") == "" || o.Get("X-B3-Traceid") != s.Get("X-B3-Traceid") {
		t.Errorf("trace %s, the shadow's %s", o.Get("X-B3-Traceid"), s.Get("X-B3-Traceid"))
	}
	if s.Get("X-B3-Spanid") == o.Get("X-B3-Spanid") || s.Get("X-B3-Parentspanid") != o.Get("X-B3-Spanid") {
		t.Errorf("span %s (parent %s), the shadow's %s (parent %s): want a child",
			o.Get("X-B3-Spanid"), o.Get("X-B3-Parentspanid"), s.Get("X-B3-Spanid"), s.Get("X-B3-Parentspanid"))
	}
	// A mirror that fails, or is slow, is nobody's business.
	m.fault(t, "catalog", "v2", "--rate", "1", "--status", "500")
	for range 50 {
		m.mustGet(t, webappHost, "/api/catalog")
	}
}

// find returns the request with an id among those that an app has seen.
func find(t *testing.T, address, id string) *sample.Seen {
	t.Helper()
	seen, err := sample.Requests(t.Context(), address, 50)
	if err != nil {
		t.Fatal(err)
	}
	for i := range seen {
		if seen[i].Header.Get("X-Request-Id") == id {
			return &seen[i]
		}
	}
	return nil
}

// O9: with REGISTRY_ONLY what the mesh does not know is out of reach, until a ServiceEntry makes it known.
func TestRegistryOnly(t *testing.T) {
	m := shared
	m.mustGet(t, webappHost, "/api/users")
	m.meshConfig(t, "outboundTrafficPolicy:\n  mode: REGISTRY_ONLY\n")
	m.settle(t, webappHost, "/api/users", func(a answer) bool { return a.code >= 500 })
	m.mustGet(t, webappHost, "/api/catalog") // what the mesh knows goes on
	m.apply(t, "egress/users.yaml")
	m.settle(t, webappHost, "/api/users", func(a answer) bool { return a.code == http.StatusOK })
}

// D30: a VirtualService for a gateway that does not exist is accepted, and apply says what is wrong.
func TestMisnamedGateway(t *testing.T) {
	m := shared
	out := m.apply(t, "mistakes/misnamed-gateway.yaml")
	for _, want := range []string{"IST0101", "istio-system/catalog-gw"} {
		if !strings.Contains(out, want) {
			t.Errorf("apply does not mention %s:\n%s", want, out)
		}
	}
}

// A file set with a mistake is refused as a whole, and what runs goes on.
func TestBadConfigurationIsRefused(t *testing.T) {
	m := shared
	bad := `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: catalog, namespace: istioinaction}
spec:
  hosts: [catalog]
  http:
  - route:
    - destination: {host: catalog, subset: version-v1}
    retriez: {attempts: 3}
`
	out, err := m.lateenIn(bad, "apply", "-f", "-")
	if err == nil || !strings.Contains(out, "retriez") {
		t.Errorf("accepted: %v\n%s", err, out)
	}
	if out, _ := m.lateen("get", "virtualservice", "-n", "istioinaction"); slices.Contains(strings.Fields(out), "catalog") {
		t.Errorf("stored:\n%s", out)
	}
	m.mustGet(t, webappHost, "/api/catalog")
}
