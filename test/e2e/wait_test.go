package e2e

import (
	"net/http"
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

// shortWait is how long commands wait for a proxy that stands still. All others must have answered by then, on a busy machine too.
const shortWait = "4s"

// TestDeleteWaits: when the command returns, the very next request goes as without the objects; a proxy that had refused one of them is served
// again, and one that has stopped is named.
func TestDeleteWaits(t *testing.T) {
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "mesh/catalog-all-v1.yaml")
	m.settle(t, webappHost, "/api/catalog", isV1)
	const cut = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: teapot, namespace: istioinaction}\n" +
		"spec: {hosts: [forum], http: [{fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, route: [{destination: {host: forum}}]}]}\n"
	const rot = "---\napiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: rot, namespace: istioinaction}\n" +
		"spec: {configPatches: [{applyTo: CLUSTER, match: {cluster: {service: forum.istioinaction.svc.cluster.local}}, " +
		"patch: {operation: MERGE, value: {load_balancing_policy: {policies: [{typed_extension_config: {name: none, " +
		"typed_config: {'@type': type.googleapis.com/google.protobuf.StringValue, value: a}}}]}}}}]}\n"
	for range 3 {
		if out, err := m.lateenIn(cut, "apply", "--wait", "-f", "-"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if a, err := m.get(webappHost, "/api/users"); err != nil || a.code == http.StatusOK {
			t.Fatalf("with the fault: %d, %v", a.code, err)
		}
		if out, err := m.lateenIn(rot, "apply", "--wait", "-f", "-"); err == nil || !strings.Contains(out, "it has refused CDS") {
			t.Fatalf("%v\n%s", err, out)
		}
		out, err := m.lateenIn(cut+rot, "delete", "--wait", "-f", "-")
		if err != nil || !strings.Contains(out, `"teapot" deleted`) || !strings.Contains(out, "served by ") {
			t.Fatalf("%v\n%s", err, out)
		}
		for range 8 { // enough to meet every worker
			m.mustGet(t, webappHost, "/api/users")
		}
	}
	if out, err := m.lateenIn(cut, "apply", "--wait", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	goOn := m.stop(t, "webapp-1.sidecar")
	out, err := m.lateen("delete", "virtualservice/teapot", "virtualservice/none", "-n", "istioinaction", "--wait", "--timeout", shortWait)
	goOn()
	if err == nil || !strings.Contains(out, "deleted, and not served by in time") || !strings.Contains(out, "webapp-1.istioinaction: it has not answered for") ||
		!strings.Contains(out, `"none" not found`) {
		t.Errorf("%v\n%s", err, out)
	}
	m.settle(t, webappHost, "/api/users", func(a answer) bool { return a.code == http.StatusOK })
}

// stop stops a process as if it hung, until goOn is called.
func (m *mesh) stop(t *testing.T, process string) (goOn func()) {
	t.Helper()
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

// TestApplyNamesStragglers stops proxies: the one whose routes change is named, one that does not use them is not waited for.
func TestApplyNamesStragglers(t *testing.T) {
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "mesh/catalog-all-v1.yaml")
	m.settle(t, webappHost, "/api/catalog", isV1)
	goOn := m.stop(t, "forum-1.sidecar")
	out, err := m.applyWait(t, "mesh/catalog-header-v2.yaml")
	goOn()
	if err != nil {
		t.Errorf("a proxy without a use for the route is waited for: %v\n%s", err, out)
	}
	goOn = m.stop(t, "webapp-1.sidecar")
	out, err = m.applyWait(t, "mesh/catalog-all-v1.yaml", "--timeout", shortWait)
	goOn()
	if err == nil || !strings.Contains(out, "not served by in time") || !strings.Contains(out, "webapp-1.istioinaction: it has not answered for") ||
		strings.Count(out, "\n  ") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := m.applyWait(t, "mesh/catalog-all-v1.yaml"); err != nil || !strings.Contains(out, "unchanged") {
		t.Errorf("once it goes on: %v\n%s", err, out)
	}
}
