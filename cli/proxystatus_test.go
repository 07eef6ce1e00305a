package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// fakeDebug answers as the control plane's debug pages do.
func fakeDebug(t *testing.T, pages map[string]string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, ok := pages[r.URL.RequestURI()]
		if !ok {
			http.Error(w, "no such page: "+r.URL.RequestURI(), http.StatusNotFound)
			return
		}
		fmt.Fprint(w, page)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func syncEntry(proxy, istiod, version string, states ...string) string {
	var types []string
	for i, name := range []string{"CDS", "LDS", "EDS", "RDS", "ECDS"} {
		state, refusal, _ := strings.Cut(states[i], "!")
		types = append(types, fmt.Sprintf(`{"type":%q,"state":%q,"resources":3,"error":%q}`, name, state, refusal))
	}
	return fmt.Sprintf(`{"cluster_id":"Kubernetes","proxy":%q,"istio_version":%q,"istiod":%q,"identity":"spiffe://cluster.local/ns/istioinaction/sa/catalog","address":"127.77.1.2:40000","protocol":"delta","served":6,"current":7,"types":[%s]}`,
		proxy, version, istiod, strings.Join(types, ","))
}

func runCommand(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := NewRoot()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// TestProxyStatusTable holds the exact columns and padding of istioctl 1.17.
func TestProxyStatusTable(t *testing.T) {
	addr := fakeDebug(t, map[string]string{"/debug/syncz": "[" + strings.Join([]string{
		syncEntry("webapp-7685bcb84-skzgg.istioinaction", "istiod-7df6ffc78d-fl492", "1.17.8", "SYNCED", "STALE", "SYNCED", "NOT SENT", "NOT SENT"),
		syncEntry("catalog-6cf4b97d-ftl77.istioinaction", "istiod-7df6ffc78d-fl492", "1.17.8", "SYNCED", "SYNCED", "SYNCED", "SYNCED", "NOT SENT"),
		syncEntry("istio-ingressgateway-996bc6bb6-8scpp.istio-system", "istiod-7df6ffc78d-fl492", "1.17.8", "SYNCED", "SYNCED", "SYNCED", "SYNCED", "NOT SENT"),
	}, ",") + "]"})
	want := strings.Join([]string{
		"NAME                                                  CLUSTER        CDS        LDS        EDS        RDS          ECDS         ISTIOD                      VERSION",
		"catalog-6cf4b97d-ftl77.istioinaction                  Kubernetes     SYNCED     SYNCED     SYNCED     SYNCED       NOT SENT     istiod-7df6ffc78d-fl492     1.17.8",
		"istio-ingressgateway-996bc6bb6-8scpp.istio-system     Kubernetes     SYNCED     SYNCED     SYNCED     SYNCED       NOT SENT     istiod-7df6ffc78d-fl492     1.17.8",
		"webapp-7685bcb84-skzgg.istioinaction                  Kubernetes     SYNCED     STALE      SYNCED     NOT SENT     NOT SENT     istiod-7df6ffc78d-fl492     1.17.8",
		"",
	}, "\n")
	for _, name := range []string{"proxy-status", "ps"} {
		if got, err := runCommand(t, name, "--state-dir", t.TempDir(), "--xds-debug-address", addr); err != nil || got != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, want)
		}
	}
	got, err := runCommand(t, "ps", "--state-dir", t.TempDir(), "--xds-debug-address", addr, "-n", "istio-system")
	if err != nil || strings.Count(got, "\n") != 2 {
		t.Errorf("-n istio-system: %v\n%s", err, got)
	}
	got, err = runCommand(t, "ps", "--state-dir", t.TempDir(), "--xds-debug-address", addr, "-o", "json")
	if err != nil || !json.Valid([]byte(got)) {
		t.Errorf("-o json: %v\n%s", err, got)
	}
}

func TestProxyStatusOfOne(t *testing.T) {
	const name = "catalog-v1-1.istioinaction"
	dump := func(clusters, routes string) string {
		return fmt.Sprintf(`{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","dynamic_active_clusters":[%s]},`+
			`{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","dynamic_listeners":[{"name":"l","active_state":{"version_info":"1"}}]},`+
			`{"@type":"type.googleapis.com/envoy.admin.v3.RoutesConfigDump","dynamic_route_configs":[%s]}]}`, clusters, routes)
	}
	cluster := func(n string) string { return fmt.Sprintf(`{"version_info":"1","cluster":{"name":%q}}`, n) }
	route := func(v string) string { return fmt.Sprintf(`{"version_info":%q,"route_config":{"name":"80"}}`, v) }
	// Control planes write the names of fields otherwise than Envoy.
	asIstiod := strings.NewReplacer("dynamic_active_clusters", "dynamicActiveClusters", "dynamic_listeners", "dynamicListeners", "active_state", "activeState",
		"dynamic_route_configs", "dynamicRouteConfigs", "version_info", "versionInfo", "route_config", "routeConfig")
	debug := fakeDebug(t, map[string]string{
		"/debug/syncz?proxyID=" + name:       "[" + syncEntry(name, "istiod-1", "1.24.1", "SYNCED", "STALE!unknown filter x", "SYNCED", "SYNCED", "NOT SENT") + "]",
		"/debug/config_dump?proxyID=" + name: asIstiod.Replace(dump(cluster("a")+","+cluster("sent-only"), route("2"))),
		"/debug/syncz?proxyID=nobody":        "[]",
	})
	admin := fakeDebug(t, map[string]string{"/config_dump?include_eds": dump(cluster("a")+","+cluster("own"), route("1"))})
	dir := t.TempDir()
	if err := runfile.Write(dir, &runfile.Run{PID: os.Getpid(), Debug: debug, Proxies: []runfile.Proxy{{Name: "catalog-v1-1", Namespace: "istioinaction", Admin: admin}}}); err != nil {
		t.Fatal(err)
	}
	got, err := runCommand(t, "ps", name, "--state-dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	got = strings.Replace(got, time.Time{}.Local().Format(time.DateTime), "TIME", 1)
	for _, want := range []string{
		"Identity:   spiffe://cluster.local/ns/istioinaction/sa/catalog\n", "Version:    6, while the current one is 7\n",
		"LDS was refused by the proxy: unknown filter x\n", "Listeners Match\n",
		"Clusters Don't Match\n  + own (in the proxy, and not sent)\n  - sent-only (sent, and not in the proxy)\n",
		"Routes Don't Match\n  ~ 80 (sent in version 2, the proxy runs 1)\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("output lacks %q:\n%s", want, got)
		}
	}
	if _, err := runCommand(t, "ps", "nobody", "--state-dir", dir); err == nil || !strings.Contains(err.Error(), "not connected") {
		t.Errorf("a proxy that is not there: %v", err)
	}
	if _, err := runCommand(t, "ps", "--state-dir", t.TempDir()); err == nil || !strings.Contains(err.Error(), "lateen demo") {
		t.Errorf("no mesh: %v", err)
	}
}
