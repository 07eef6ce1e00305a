package proxycmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const good = `
static_resources:
  clusters:
  - {name: a, type: STATIC, connect_timeout: 1s}
`

func execute(args ...string) (string, error) {
	cmd := New("lateen-proxy")
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.Execute()
	if err != nil {
		PrintError(&out, err)
	}
	return out.String(), err
}

func TestValidate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		ok   bool
		want []string
	}{
		{"file", []string{"-c", file, "--mode", "validate"}, true, []string{"OK"}},
		{"text", []string{"--config-yaml", good, "--mode", "validate"}, true, []string{"OK"}},
		{"both", []string{"-c", file, "--config-yaml", "static_resources: {clusters: [{name: b}]}", "--mode", "validate"}, true, []string{"OK"}},
		{"the same cluster in both", []string{"-c", file, "--config-yaml", "static_resources: {clusters: [{name: a}]}", "--mode", "validate"}, false, []string{`cluster "a" stands twice`}},
		{
			"everything wrong at once",
			[]string{"--config-yaml", "nod: {}\nstatic_resources: {clusters: [{name: a, lb_polcy: x}], listeners: [{adress: {}}]}", "--mode", "validate"}, false,
			[]string{"5 problem(s)", "  nod: unknown field", "  static_resources.clusters[0].lb_polcy: unknown field", "  static_resources.listeners[0].adress: unknown field", "  static_resources.listeners[0].filter_chains: a listener needs"},
		},
		{"a route to nowhere", []string{"--config-yaml", "static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [{name: h, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: h, " +
			"route_config: {virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: b}}]}]}, http_filters: [{name: r, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}]}", "--mode", "validate"}, false,
			[]string{"1 problem(s)", `static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.cluster: unknown cluster "b"`}},
		{"nothing", []string{"--mode", "validate"}, false, []string{"-c", "--config-yaml"}},
		{"no such mode", []string{"--config-yaml", good, "--mode", "dream"}, false, []string{"use serve, validate or init_only"}},
		{"no such file", []string{"-c", file + "x"}, false, []string{"no such file"}},
		{"unknown flag", []string{"--frobnicate", "1"}, false, []string{"--frobnicate"}},
		{"init only", []string{"--config-yaml", good, "--mode", "init_only", "--log-path", os.DevNull}, true, nil},
		{"flag without meaning", []string{"--config-yaml", good, "--mode", "validate", "--enable-mutex-tracing"}, true, []string{"OK"}},
		{"flag that is refused", []string{"--config-yaml", good, "--mode", "validate", "--disable-extensions", "x"}, false, []string{"--disable-extensions is not supported"}},
		{"unknown static field", []string{"--config-yaml", "nod: {}", "--mode", "validate", "--allow-unknown-static-fields", "--log-path", os.DevNull}, true, []string{"OK"}},
		{"unknown type stays unknown", []string{"--config-yaml", "static_resources: {clusters: [{name: a, transport_socket: {name: x, typed_config: {'@type': type.googleapis.com/no.Such}}}]}", "--mode", "validate", "--allow-unknown-static-fields"}, false, []string{"1 problem(s)", "clusters[0].transport_socket.typed_config: type type.googleapis.com/no.Such is not supported"}},
		{"drain strategy", []string{"--config-yaml", good, "--drain-strategy", "x"}, false, []string{"use gradual or immediate"}},
		{"stats tag", []string{"--config-yaml", good, "--stats-tag", "x"}, false, []string{"NAME:VALUE"}},
		{"log format", []string{"--config-yaml", good, "--log-format", "%v %Q"}, false, []string{"%Q is not supported"}},
		{"log path", []string{"--config-yaml", good, "--log-path", file + "/x"}, false, []string{"--log-path"}},
		{"negative concurrency", []string{"--config-yaml", good, "--concurrency=-1"}, false, []string{"cannot be negative"}},
		{"flush size", []string{"--config-yaml", good, "--file-flush-min-size-kb", "0"}, false, []string{"--file-flush-min-size-kb 0: must be 1 to 2048"}},
		{"flush interval", []string{"--config-yaml", good, "--file-flush-interval-msec", "0"}, false, []string{"--file-flush-interval-msec 0: must be at least 1"}},
		{"log level", []string{"--config-yaml", good, "-l", "loud"}, false, []string{`"loud" is no log level`}},
		{"component", []string{"--config-yaml", good, "--component-log-level", "nonsense:debug"}, false, []string{`no logger is called "nonsense"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := execute(tt.args...)
			if (err == nil) != tt.ok {
				t.Errorf("err = %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
		})
	}
}
