package decision

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/agent"
	"github.com/lateen-mesh/lateen/controlplane"
	"github.com/lateen-mesh/lateen/test/internal/envoybin"
	"github.com/lateen-mesh/lateen/test/internal/testnet"
)

// side is one end of a hop: a machine with an application and its sidecar.
type side struct {
	name, namespace string
	host            *testnet.Host // nil: this machine
	address         string        // of the machine
	service         string        // the address of its service
	program         proxyKind
}

func (s *side) principal() string { return "spiffe://cluster.local/ns/" + s.namespace + "/sa/default" }

// do runs f on the side's machine.
func (s *side) do(f func()) {
	if s.host == nil {
		f()
		return
	}
	s.host.Do(f)
}

func (s *side) dial(ctx context.Context, dialer *net.Dialer, address string) (c net.Conn, err error) {
	s.do(func() { c, err = dialer.DialContext(ctx, "tcp", address) })
	return c, err
}

const (
	hopHTTP, hopTCP = 8080, 8081
	// What both proxies log of a request or connection: the row, the cluster, who has called and who was called, as far as certificates say.
	hopFormat = `%REQ(X-ROW)% %UPSTREAM_CLUSTER% by %DOWNSTREAM_PEER_URI_SAN% to %UPSTREAM_PEER_URI_SAN%`
)

// TestHop has a real Envoy and our proxy call each other, each on a machine of its own with the connections of its application redirected, under one
// control plane that demands mutual TLS: who called and who answered is the same in the log of the one who calls, in the log of the one who answers, in what the
// application is told and in our proxy's metrics.
func TestHop(t *testing.T) {
	if why := testnet.Missing(); why != "" {
		t.Skip(why)
	}
	program, err := envoybin.Find(t.Context())
	if err != nil {
		t.Skip("no Envoy: ", err, "; to install one: ", envoybin.Command)
	}
	here, there := netip.MustParseAddr("172.31.7.1"), netip.MustParseAddr("172.31.7.2")
	host, err := testnet.NewHost("hop", here, there)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	if err := host.Capture(hopHTTP, hopTCP); err != nil {
		t.Fatal(err)
	}
	lateen := &side{name: "shop-1", namespace: "shop", address: here.String(), service: "172.31.7.101", program: ours}
	foreign := &side{name: "ledger-1", namespace: "ledger", host: host, address: there.String(), service: "172.31.7.102"}
	foreign.program = envoyOn(program, foreign.do)
	w := startHopWorld(t, lateen, foreign)
	for _, s := range []*side{lateen, foreign} {
		startHopApp(t, s)
		n := node{kind: agent.Sidecar, name: s.name, namespace: s.namespace, address: s.address, labels: map[string]string{"app": s.namespace}}
		if s.program.differs {
			n = n.with("LATEEN_ON_DEMAND", "false")
		}
		t.Cleanup(w.startProxy(t, n, s.program))
	}
	t.Run("ours to Envoy", func(t *testing.T) {
		w.hop(t, lateen, foreign)
		// Envoy says nothing of itself on the wire: that it is ledger-1 the control plane has told.
		metrics(t, "istio_requests_total", `reporter="source"`, `source_workload="shop-1"`, `source_principal="`+lateen.principal()+`"`,
			`destination_workload="ledger-1"`, `destination_principal="`+foreign.principal()+`"`, `destination_service_name="ledger"`, `response_code="200"`)
		metrics(t, "istio_tcp_connections_opened_total", `reporter="source"`, `source_principal="`+lateen.principal()+`"`, `destination_workload="ledger-1"`,
			`destination_principal="`+foreign.principal()+`"`)
	})
	t.Run("Envoy to ours", func(t *testing.T) {
		w.hop(t, foreign, lateen)
		// Its certificate is all that is known of a caller that says nothing of itself.
		metrics(t, "istio_requests_total", `reporter="destination"`, `source_workload="unknown"`, `source_principal="`+foreign.principal()+`"`, `destination_workload="shop-1"`,
			`destination_principal="`+lateen.principal()+`"`, `connection_security_policy="mutual_tls"`, `response_code="200"`)
		metrics(t, "istio_tcp_connections_opened_total", `reporter="destination"`, `source_principal="`+foreign.principal()+`"`, `destination_workload="shop-1"`,
			`destination_principal="`+lateen.principal()+`"`, `connection_security_policy="mutual_tls"`)
	})
	w.checkRefusals(t)
}

// startHopWorld starts the control plane of a mesh of two services that take calls by mutual TLS alone.
func startHopWorld(t *testing.T, sides ...*side) *world {
	t.Helper()
	state := t.TempDir()
	w := &world{table: &Table{}, log: filepath.Join(state, "access.log"), ca: filepath.Join(state, "ca")}
	var objects strings.Builder
	objects.WriteString("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: strict, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}\n")
	for _, s := range sides {
		fmt.Fprintf(&objects, `---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: %[1]s}
spec:
  clusterIP: %[2]s
  selector: {app: %[1]s}
  ports: [{name: http, port: 80, targetPort: %[3]d}, {name: tcp, port: 81, targetPort: %[4]d}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: %[5]s, namespace: %[1]s}
spec: {address: %[6]s, labels: {app: %[1]s}, serviceAccount: default}
`, s.namespace, s.service, hopHTTP, hopTCP, s.name, s.address)
	}
	if err := os.Mkdir(filepath.Join(state, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"config/hop.yaml": objects.String(), "mesh.yaml": fmt.Sprintf("accessLogFile: %s\naccessLogFormat: \"%s\\n\"\n", w.log, hopFormat),
	} {
		if err := os.WriteFile(filepath.Join(state, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cp, err := controlplane.New(controlplane.Config{
		ConfigDir: filepath.Join(state, "config"), MeshFile: filepath.Join(state, "mesh.yaml"), CADir: w.ca,
		SecureGRPCAddr: sides[0].address + ":0", HTTPAddr: "127.0.0.1:0", Logger: logger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, "control plane", cp.Run, cp.Ready()))
	w.secure, w.debug = cp.Addresses().SecureGRPC.String(), "http://"+cp.Addresses().HTTP.String()
	return w
}

// startHopApp runs a side's application: it answers requests with who calls, as its sidecar says, and lines with its name.
func startHopApp(t *testing.T, s *side) {
	t.Helper()
	listen := func(port int) (l net.Listener) {
		var err error
		s.do(func() { l, err = net.Listen("tcp", fmt.Sprintf("%s:%d", s.address, port)) })
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	serve(t, listen(hopHTTP), s.name, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("x-forwarded-client-cert")) })
	serveBytes(t, listen(hopTCP), s.name, false)
}

// clientCert is what a sidecar tells its application of the caller.
var clientCert = regexp.MustCompile(`^By=([^;]*);Hash=[0-9a-f]{64};Subject="";URI=([^;]*)$`)

// hop asks the service of one side from the other.
func (w *world) hop(t *testing.T, from, to *side) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return from.dial(ctx, testnet.Dialer(testnet.Outbound), to.service+":80")
	}}
	client := &http.Client{Transport: transport, Timeout: patience}
	row := "to-" + to.name
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+to.namespace+"."+to.namespace, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(rowHeader, row)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if m := clientCert.FindStringSubmatch(string(body)); err != nil || m == nil || m[1] != to.principal() || m[2] != from.principal() {
		t.Errorf("%s, %v; the application is told of the caller: %q, want %s called by %s", resp.Status, err, body, to.principal(), from.principal())
	}
	c, err := from.dial(t.Context(), testnet.Dialer(testnet.Outbound), to.service+":81")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = errors.Join(c.SetDeadline(time.Now().Add(patience)), func() error { _, err := fmt.Fprintln(c, "hello"); return err }())
	line, readErr := bufio.NewReader(c).ReadString('\n')
	if err := errors.Join(err, readErr, c.Close()); err != nil || line != to.name+"\n" {
		t.Errorf("over TCP %q, %v", line, err)
	}
	var want []string
	for row, port := range map[string]int{row: 80, "-": 81} {
		host, inner := to.namespace+"."+to.namespace+".svc.cluster.local", map[int]int{80: hopHTTP, 81: hopTCP}[port]
		want = append(want,
			fmt.Sprintf("%s outbound|%d||%s by - to %s", row, port, host, to.principal()),
			fmt.Sprintf("%s inbound|%d|| by %s to -", row, inner, from.principal()))
	}
	var raw []byte
	eventually(func() bool {
		if raw, err = os.ReadFile(w.log); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, line := range want {
			if !bytes.Contains(raw, []byte(line+"\n")) {
				return false
			}
		}
		return true
	})
	for _, line := range want {
		if !bytes.Contains(raw, []byte(line+"\n")) {
			t.Errorf("the logs do not have %q but:\n%s", line, raw)
		}
	}
}

// metrics looks for a series of our proxy's with some labels.
func metrics(t *testing.T, name string, labels ...string) {
	t.Helper()
	var text []byte
	found := false
	eventually(func() bool {
		var err error
		if text, err = get(t.Context(), proxyAdmin+"/stats/prometheus"); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			has := strings.HasPrefix(line, name+"{")
			for _, l := range labels {
				has = has && strings.Contains(line, l)
			}
			found = found || has
		}
		return found
	})
	if !found {
		t.Errorf("no series of %s has %v:\n%s", name, labels, strings.Join(regexp.MustCompile(`(?m)^istio_.*_total.*$`).FindAllString(string(text), -1), "\n"))
	}
}
