package e2e

import (
	"strings"
	"syscall"
	"testing"

	"github.com/lateen-mesh/lateen/samples/shop"
)

// applyWait is `lateen apply --wait` of a manifest of samples/shop.
func (m *mesh) applyWait(t *testing.T, path string, flags ...string) (string, error) {
	t.Helper()
	text, err := shop.ForBlock(path, m.run.Block)
	if err != nil {
		t.Fatal(err)
	}
	return m.lateenIn(string(text), append([]string{"apply", "--wait", "-f", "-"}, flags...)...)
}

// TestApplyWaits: when the command returns, the very next request goes the new way, whichever way it is.
func TestApplyWaits(t *testing.T) {
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "mesh/catalog-all-v1.yaml")
	m.settle(t, webappHost, "/api/catalog", isV1)
	for range 5 {
		for _, step := range []struct {
			path string
			v2   bool
		}{{"mesh/catalog-header-v2.yaml", true}, {"mesh/catalog-all-v1.yaml", false}} {
			out, err := m.applyWait(t, step.path)
			if err != nil || !strings.Contains(out, "served by ") {
				t.Fatalf("%s: %v\n%s", step.path, err, out)
			}
			for range 8 { // enough to meet every worker
				if a := m.mustGet(t, webappHost, "/api/catalog", "x-istio-cohort", "internal"); a.v2() != step.v2 {
					t.Fatalf("after %s version 2 answers: %v", step.path, a.v2())
				}
			}
		}
	}
}

// TestApplyNamesStragglers stops proxies: the one whose routes change is named, one that does not use them is not waited for.
func TestApplyNamesStragglers(t *testing.T) {
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "mesh/catalog-all-v1.yaml")
	m.settle(t, webappHost, "/api/catalog", isV1)
	stop := func(process string) (goOn func()) {
		pid, err := m.pid(process)
		if err != nil || pid == 0 {
			t.Fatalf("%s: pid %d, %v", process, pid, err)
		}
		signal := func(s syscall.Signal) {
			if err := syscall.Kill(pid, s); err != nil {
				t.Errorf("%s: %v", process, err)
			}
		}
		signal(syscall.SIGSTOP)
		return func() { signal(syscall.SIGCONT) }
	}
	goOn := stop("forum-1.sidecar")
	out, err := m.applyWait(t, "mesh/catalog-header-v2.yaml")
	goOn()
	if err != nil {
		t.Errorf("a proxy without a use for the route is waited for: %v\n%s", err, out)
	}
	goOn = stop("webapp-1.sidecar")
	out, err = m.applyWait(t, "mesh/catalog-all-v1.yaml", "--timeout", "1s")
	goOn()
	if err == nil || !strings.Contains(out, "not served by in time") || !strings.Contains(out, "webapp-1.istioinaction: it has not answered for") ||
		strings.Count(out, "\n  ") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := m.applyWait(t, "mesh/catalog-all-v1.yaml"); err != nil || !strings.Contains(out, "unchanged") {
		t.Errorf("once it goes on: %v\n%s", err, out)
	}
}
