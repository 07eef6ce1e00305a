package decision

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane"
	"github.com/lateen-mesh/lateen/test/internal/testnet"
)

const (
	gatewayAddress = "10.10.0.2"
	outsideAddress = "10.99.0.1"  // of who has no sidecar
	nobody         = "10.250.0.1" // where names lead that nobody defines
)

// gatewayPorts map the ports of the gateway's Service to those of its proxy.
var gatewayPorts = map[string]string{"80": "8080", "443": "8443"}

// world is a table's mesh: a control plane with its objects, and applications.
type world struct {
	table  *Table
	origin *origin
	secure string // where the control plane serves proxies and signs certificates, ip:port
	ca     string // its certificate authority's folder
	log    string // the access log of all proxies
	hosts  map[string][]string
	// objects are the table's and those made for it.
	objects *config.Set
	debug   string // URL of the control plane's pages
	ports   *ports
}

// ports gives each client's end of a connection another one: a connection is known by it in the access log, and no two follow each other
// within the time that the kernel keeps ends apart.
type ports struct{ last int }

// Where each test's clients begin: all of a test have fewer than are between.
const (
	controlPlanePorts = 12900
	listeningPorts    = 13000
	bypassPorts       = 14000
	decisionPorts     = 20000
)

func (p *ports) next() int {
	p.last++
	return p.last
}

// What the access log of every proxy says: whose line it is, then entry's fields.
const logFormat = `%REQ(X-ROW)% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %UPSTREAM_CLUSTER% %ROUTE_NAME% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS%\n`

func startWorld(t *testing.T, table *Table, p *ports) *world {
	t.Helper()
	state := t.TempDir()
	w := &world{table: table, ports: p, log: filepath.Join(state, "access.log"), ca: filepath.Join(state, "ca")}
	generated, err := w.generate()
	if err != nil {
		t.Fatal(err)
	}
	mesh := map[string]any{}
	if len(table.Mesh) > 0 {
		if err := json.Unmarshal(table.Mesh, &mesh); err != nil {
			t.Fatal(err)
		}
	}
	mesh["accessLogFile"], mesh["accessLogFormat"] = w.log, strings.ReplaceAll(logFormat, `\n`, "\n")
	meshYAML, err := yaml.Marshal(mesh)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(state, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"config/" + table.Name + ".yaml": table.Text, "config/generated.yaml": generated, "mesh.yaml": meshYAML,
	} {
		if err := os.WriteFile(filepath.Join(state, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := table.certs.remove(); err != nil {
			t.Error(err)
		}
	})
	stop, err := testnet.ServeNames(table.Names)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	w.origin = startApps(t, table.Apps, table.certs)
	cp, err := controlplane.New(controlplane.Config{
		ConfigDir: filepath.Join(state, "config"), MeshFile: filepath.Join(state, "mesh.yaml"), CADir: w.ca,
		SecureGRPCAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0", GatewayService: "istio-system/istio-ingressgateway", Logger: logger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, "control plane", cp.Run, cp.Ready()))
	w.secure, w.debug = cp.Addresses().SecureGRPC.String(), "http://"+cp.Addresses().HTTP.String()
	if err := table.certs.join(w.ca); err != nil {
		t.Fatal(err)
	}
	return w
}

// logger says in the test's output what goes wrong.
func logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// start runs a part of the mesh until the returned function is called, and waits until it is ready.
func start(t *testing.T, name string, run func(context.Context) error, ready <-chan struct{}) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	select {
	case <-ready:
	case err := <-done:
		cancel()
		t.Fatalf("%s ended: %v", name, err)
	case <-time.After(time.Minute):
		t.Errorf("%s did not become ready", name)
		stop()
		t.FailNow()
	}
	return stop
}

// generate writes the objects that a table need not write: its applications' workloads and services, and the gateway's. It also fills
// hosts, which say where names lead.
func (w *world) generate() ([]byte, error) {
	w.hosts = map[string][]string{}
	var docs []string
	add := func(format string, args ...any) { docs = append(docs, fmt.Sprintf(format, args...)) }
	workload := func(namespace, name, address string, labels map[string]string) error {
		js, err := json.Marshal(labels)
		add("apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: %s, namespace: %s}\nspec: {address: %s, labels: %s}\n", name, namespace, address, js)
		return err
	}
	if err := workload("istio-system", "istio-ingressgateway-1", gatewayAddress, gatewayLabels()); err != nil {
		return nil, err
	}
	if w.table.Objects.Get(schema.Service, "istio-system", "istio-ingressgateway") == nil {
		add(`apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec:
  clusterIP: 10.200.9.9
  selector: {istio: ingressgateway}
  ports:
  - {name: http2, port: 80, targetPort: 8080}
  - {name: https, port: 443, targetPort: 8443}
  - {name: tls, port: 15443, targetPort: 15443}
  - {name: tcp, port: 31400, targetPort: 31400}
`)
	}
	services := map[string]bool{}
	for i := range w.table.Apps {
		a := &w.table.Apps[i]
		if a.Outside {
			continue
		}
		if err := workload(a.Namespace, a.Name, a.Address, a.Labels); err != nil {
			return nil, err
		}
		key := a.Namespace + "/" + a.Service()
		if services[key] || w.table.Objects.Get(schema.Service, a.Namespace, a.Service()) != nil || w.entryFor(a.Service()) {
			continue
		}
		services[key] = true
		ip := fmt.Sprintf("10.200.0.%d", i+1)
		var ports []string
		for _, p := range a.Ports {
			ports = append(ports, fmt.Sprintf("{name: %s, port: %d, targetPort: %d}", p.Name, p.Port, p.Target))
		}
		add("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s}\nspec:\n  clusterIP: %s\n  selector: {app: %s}\n  ports: [%s]\n",
			a.Service(), a.Namespace, ip, a.Service(), strings.Join(ports, ", "))
		w.name(a.Service(), a.Namespace, ip)
	}
	w.resolveObjects()
	text := []byte(strings.Join(docs, "---\n"))
	made, err := config.Load([]config.File{{Name: "generated.yaml", Data: text}}, config.LoadOptions{})
	if err != nil {
		return nil, err
	}
	w.objects = w.table.Objects.With(made)
	return text, nil
}

func (w *world) entryFor(name string) bool {
	for _, o := range w.table.Objects.List(schema.ServiceEntry) {
		if o.Name == name {
			return true
		}
	}
	return false
}

func gatewayLabels() map[string]string {
	return map[string]string{"istio": "ingressgateway", "app": "istio-ingressgateway"}
}

// name makes the names of a service lead somewhere.
func (w *world) name(service, namespace string, addresses ...string) {
	for _, n := range []string{service, service + "." + namespace, service + "." + namespace + ".svc", service + "." + namespace + ".svc.cluster.local"} {
		if n != service || namespace == "default" {
			w.hosts[n] = addresses
		}
	}
}

// resolveObjects makes the names of the table's own Services and ServiceEntries lead where they would.
func (w *world) resolveObjects() {
	for _, o := range w.table.Objects.List(schema.Service) {
		spec := o.Spec.(*corev1.Service).Spec
		var to []string
		if _, err := netip.ParseAddr(spec.ClusterIP); err == nil {
			to = []string{spec.ClusterIP}
		} else if spec.ExternalName != "" {
			to = w.table.Names[spec.ExternalName]
		} else {
			for i := range w.table.Apps {
				if a := &w.table.Apps[i]; a.Namespace == o.Namespace && len(spec.Selector) > 0 && selects(spec.Selector, a.Labels) {
					to = append(to, a.Address)
					w.hosts[a.Name+"."+o.Name+"."+o.Namespace+".svc.cluster.local"] = []string{a.Address}
				}
			}
		}
		w.name(o.Name, o.Namespace, to...)
	}
	for _, o := range w.table.Objects.List(schema.ServiceEntry) {
		se := o.Spec.(*networking.ServiceEntry)
		for _, h := range se.Hosts {
			if len(se.Addresses) > 0 && w.hosts[h] == nil {
				w.hosts[h] = se.Addresses[:1]
			}
		}
	}
	for name, to := range w.table.Names {
		w.hosts[name] = to
	}
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// leads says where a client's connection to host:port goes.
func (w *world) leads(hostPort string) (string, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return "", err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return hostPort, nil
	}
	if to := w.hosts[strings.ToLower(host)]; len(to) > 0 {
		return net.JoinHostPort(to[0], port), nil
	}
	return net.JoinHostPort(nobody, port), nil
}

// app finds an application.
func (w *world) app(t *testing.T, name string) *App {
	for i := range w.table.Apps {
		if w.table.Apps[i].Name == name {
			return &w.table.Apps[i]
		}
	}
	t.Fatalf("there is no app %q", name)
	return nil
}

// targetPort is the application's port for one of its service.
func (a *App) targetPort(t *testing.T, port string) string {
	for _, p := range a.Ports {
		if strconv.FormatUint(uint64(p.Port), 10) == port {
			return strconv.FormatUint(uint64(p.Target), 10)
		}
	}
	t.Fatalf("%s has no port %s", a.Name, port)
	return ""
}

// reports returns what is said of the objects, as "object: field: text": by the control plane's own page.
func (w *world) reports(t *testing.T) []string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.debug+"/debug/errors", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var page struct {
		NoEffect []struct{ Object, Field, Text string }
	}
	if err := json.Unmarshal(bytes.TrimSpace(body), &page); err != nil {
		t.Fatalf("/debug/errors: %v: %s", err, body)
	}
	var out []string
	for _, n := range page.NoEffect {
		object, _, _ := strings.Cut(n.Object, " (") // the file behind it is a temporary one
		out = append(out, object+": "+n.Field+": "+n.Text)
	}
	return out
}
