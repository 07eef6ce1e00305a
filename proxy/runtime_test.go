package proxy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// layered is a proxy whose one route asks the runtime whether it is open.
const layered = `
node: {id: test, cluster: shop}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
layered_runtime: {layers: [{name: static, static_layer: {route: {open: 0}}}, %s]}
%s
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          http_filters: [{name: envoy.filters.http.router}]
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {prefix: /, runtime_fraction: {default_value: {numerator: 0}, runtime_key: route.open}}, direct_response: {status: 200}}
  clusters:
  - name: control
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: control, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]}
`

func (r *running) open(t *testing.T) bool {
	t.Helper()
	code, _, _ := do(t, "GET", "http://"+r.ListenerAddrs()["main"]+"/")
	return code == 200
}

// TestRuntimeOnDisk: a tree of files is a layer, and another tree is one as soon as the link leads there.
func TestRuntimeOnDisk(t *testing.T) {
	root := t.TempDir()
	link := filepath.Join(root, "current")
	tree := func(name, value string) {
		t.Helper()
		dir := filepath.Join(root, name, "proxy", "shop", "route")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "open"), []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		next := filepath.Join(root, "next")
		if err := os.Symlink(filepath.Join(root, name), next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, link); err != nil {
			t.Fatal(err)
		}
	}
	tree("v1", "100")
	r := run(t, fmt.Sprintf(layered, "{name: disk, disk_layer: {symlink_root: "+link+", subdirectory: proxy, append_service_cluster: true}}", "", "1"))
	if !r.open(t) {
		t.Error("a file does not override the static layer")
	}
	tree("v2", "0")
	eventually(t, "the new tree counts", func() bool { return !r.open(t) })
	// Without an admin layer nothing can be changed here.
	if code, text := r.admin("POST", "/runtime_modify?route.open=100"); code != 503 || text != "No admin layer specified" {
		t.Errorf("%d %q", code, text)
	}
}

// TestRuntimeDiscovery: a layer comes from the control plane. The first listener waits for it.
func TestRuntimeDiscovery(t *testing.T) {
	cp := startADS(t)
	value := func(share any) {
		t.Helper()
		layer, err := structpb.NewStruct(map[string]any{"route": map[string]any{"open": share}})
		if err != nil {
			t.Fatal(err)
		}
		cp.set(xdsresource.TypeRuntime, "layer", &runtimev3.Runtime{Name: "layer", Layer: layer})
	}
	value(map[string]any{"numerator": 1000000, "denominator": "MILLION"})
	_, port, _ := strings.Cut(cp.addr, ":")
	r := run(t, fmt.Sprintf(layered, "{name: remote, rtds_layer: {name: layer, rtds_config: {ads: {}}}}, {name: admin, admin_layer: {}}",
		"dynamic_resources: {ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: control}}]}}", port))
	if !r.open(t) {
		t.Error("the first request did not meet the control plane's value")
	}
	value(0)
	eventually(t, "the new value counts", func() bool { return !r.open(t) })
	// What is no value is refused by name, and changes nothing.
	value([]any{1})
	for {
		if a := cp.answer(xdsresource.TypeRuntime); a.GetErrorDetail() != nil {
			if text := a.GetErrorDetail().GetMessage(); !strings.Contains(text, "layer.route.open: must be a string, a number, a boolean or a struct") {
				t.Errorf("NACK: %s", text)
			}
			break
		}
	}
	if r.open(t) {
		t.Error("a refused layer counts")
	}
	// The layer above wins.
	if code, text := r.admin("POST", "/runtime_modify?route.open=100"); code != 200 || text != "OK\n" {
		t.Errorf("%d %q", code, text)
	}
	if !r.open(t) {
		t.Error("the admin API's value does not count")
	}
	if _, text := r.admin("GET", "/stats?filter=^runtime.num"); text != "runtime.num_keys: 1\nruntime.num_layers: 3\n" {
		t.Errorf("statistics:\n%s", text)
	}
}
