package contract

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// through sends a request through the sidecar, and gives up after a time.
func (m *mesh) through(t *testing.T, target string, patience time.Duration) (int, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-case", "on-demand")
	tr := &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: m.sidecar})}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

// A request that must not wait for anybody is given long; one that waits for a control plane that is away is not waited for long.
const (
	longTime  = 10 * time.Second
	shortTime = 300 * time.Millisecond
)

// TestFirstRequests: a sidecar begins with what its workload has used and with what its Sidecar names. The control plane goes away as soon
// as it is ready, so that a request which had to wait for it would not be answered.
func TestFirstRequests(t *testing.T) {
	dir := t.TempDir()
	copyFile(t, "testdata/header-in-the-mesh/config.yaml", filepath.Join(dir, "config.yaml"))
	raw, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "config.yaml"), string(raw)+`---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: istioinaction}
spec:
  egress:
  - hosts: ["./*", "./flaky.istioinaction.svc.cluster.local"]
`)
	m := startMesh(t, dir)
	if code, err := m.through(t, "http://catalog/items", longTime); code != http.StatusOK {
		t.Fatalf("the service that is used gives %d, %v", code, err)
	}
	m.stopSidecar()
	m.startSidecar()
	m.stopControlPlane()
	for _, tc := range []struct {
		name, url string
		answered  bool
	}{
		{"used before", "http://catalog/items", true},
		{"named by the Sidecar", "http://flaky/", true},
		{"named by the Sidecar, by its whole name", "http://flaky.istioinaction.svc.cluster.local/", true},
		{"neither", "http://webapp/", false},
	} {
		patience := longTime
		if !tc.answered {
			patience = shortTime
		}
		if code, err := m.through(t, tc.url, patience); (err == nil) != tc.answered || code == http.StatusNotFound || code == http.StatusServiceUnavailable {
			t.Errorf("%s: %d, %v", tc.name, code, err)
		}
	}
}
