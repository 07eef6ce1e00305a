// Package grpcinterop runs gRPC's own interop client and server, the programs of the grpc-go module, with lateen-proxy
// between them, HTTP/2 on both sides. It is a module of its own, because they need what the product does not.
// `make conformance` runs it.
package grpcinterop

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/test/conformance/runproxy"
)

// cases are all that the client has, but for those that ask Google for credentials (compute_engine_creds,
// service_account_creds, jwt_token_creds, per_rpc_creds, oauth2_auth_token, google_default_credentials and
// compute_engine_channel_credentials).
var cases = []string{
	"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream", "timeout_on_sleeping_server",
	"cancel_after_begin", "cancel_after_first_response", "status_code_and_message", "special_status_message", "custom_metadata",
	"unimplemented_method", "unimplemented_service", "rpc_soak", "channel_soak", "orca_per_rpc", "orca_oob",
	"pick_first_unary",
}

// serverChanges are what the server is changed by.
var serverChanges = []struct{ file, from, to, why string }{
	{"interop/server/server.go", `net.Listen("tcp", ":"+p)`, `net.Listen("tcp", "127.0.0.1:"+p)`, "it is to be reached from this machine only"},
	{"interop/test_utils.go", "return &testpb.SimpleResponse{\n\t\tPayload: pl,\n\t}, nil", "return &testpb.SimpleResponse{\n\t\tPayload: pl, ServerId: \"one\",\n\t}, nil",
		"pick_first_unary wants a server that says its name"},
}

func TestInterop(t *testing.T) {
	dir := t.TempDir()
	client, server := buildClient(t, dir), buildServer(t, dir)
	proxy := runproxy.Build(t, "../../..")
	t.Run("plaintext", func(t *testing.T) { run(t, proxy, client, server, false) })
	t.Run("TLS", func(t *testing.T) { run(t, proxy, client, server, true) })
}

func run(t *testing.T, proxy, client, server string, tls bool) {
	const name = "interop.example"
	port, admin, back := runproxy.FreePort(t), runproxy.FreePort(t), runproxy.FreePort(t)
	serverArgs := []string{fmt.Sprint("--port=", back)}
	clientArgs := []string{
		"--server_host=127.0.0.1", fmt.Sprint("--server_port=", port),
		"--soak_per_iteration_max_acceptable_latency_ms=10000", "--soak_overall_timeout_seconds=60",
	}
	var cert, key string
	if tls {
		cert, key = runproxy.Certificate(t, name)
		serverArgs = append(serverArgs, "--use_tls", "--tls_cert_file="+cert, "--tls_key_file="+key)
		clientArgs = append(clientArgs, "--use_tls", "--use_test_ca", "--ca_file="+cert, "--server_host_override="+name)
	}
	startServer(t, server, back, serverArgs)
	runproxy.Start(t, proxy, bootstrap(port, admin, back, cert, key), admin)
	for _, c := range cases {
		t.Run(c, func(t *testing.T) {
			args := append(slices.Clip(clientArgs), "--test_case="+c)
			if strings.HasPrefix(c, "orca_") { // the client's balancer that reads load reports
				args = append(args, `--service_config_json={"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`)
			}
			out, err := exec.Command(client, args...).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

const grpcModule = "google.golang.org/grpc"

func buildClient(t *testing.T, dir string) string {
	bin := filepath.Join(dir, "client")
	command(t, "go", "build", "-o", bin, grpcModule+"/interop/client")
	return bin
}

// buildServer builds the server with serverChanges. It is changed in a copy of its module, which stands in for the module by a
// go.mod beside ours.
func buildServer(t *testing.T, dir string) string {
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	module := filepath.Join(dir, "grpc")
	check(os.CopyFS(module, os.DirFS(strings.TrimSpace(command(t, "go", "list", "-m", "-f", "{{.Dir}}", grpcModule)))))
	for _, c := range serverChanges {
		src := filepath.Join(module, filepath.FromSlash(c.file))
		text, err := os.ReadFile(src)
		check(err)
		if n := strings.Count(string(text), c.from); n != 1 {
			t.Fatalf("%s: what is to be changed (%s) is there %d times; look how it is now", src, c.why, n)
		}
		check(os.Remove(src)) // copied with its mode, which is read-only
		check(os.WriteFile(src, []byte(strings.Replace(string(text), c.from, c.to, 1)), 0o600))
	}
	mod, err := os.ReadFile("go.mod")
	check(err)
	sum, err := os.ReadFile("go.sum")
	check(err)
	root, err := filepath.Abs("../../..")
	check(err)
	own := strings.Replace(string(mod), "=> ../../..", "=> "+root, 1) + "\nreplace " + grpcModule + " => " + module + "\n"
	check(os.WriteFile(filepath.Join(dir, "alt.mod"), []byte(own), 0o600))
	check(os.WriteFile(filepath.Join(dir, "alt.sum"), sum, 0o600))
	bin := filepath.Join(dir, "server")
	command(t, "go", "build", "-modfile", filepath.Join(dir, "alt.mod"), "-o", bin, grpcModule+"/interop/server")
	return bin
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	var errs strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return string(out)
}

func startServer(t *testing.T, bin string, port int, args []string) {
	t.Helper()
	cmd := exec.Command(bin, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(time.Minute); ; {
		c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the interop server does not listen: %v", err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// bootstrap is a proxy of HTTP/2 on both sides; a certificate turns TLS on, on both sides as well.
func bootstrap(port, admin, back int, cert, key string) string {
	down, up := "", ""
	if cert != "" {
		down = fmt.Sprintf(`
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2]
            tls_certificates: [{certificate_chain: {filename: %q}, private_key: {filename: %q}}]`, cert, key)
		up = fmt.Sprintf(`
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {validation_context: {trusted_ca: {filename: %q}}}`, cert)
	}
	return fmt.Sprintf(`
admin: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config:
            virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: back, timeout: 0s}}]}]
          http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]%s
  clusters:
  - name: back
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}%s
    load_assignment:
      cluster_name: back
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]
`, admin, port, down, up, back)
}
