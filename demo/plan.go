package demo

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/pkg/supervise"
)

// gatewayBind is where the gateway's servers listen: the laptop's own loopback address, so that `curl localhost:8080` works.
const gatewayBind = "127.0.0.1"

// Namespaces of the demo, the posts'.
const (
	shopNamespace = "istioinaction"
	rootNamespace = "istio-system"
)

// workload is one instance of the shop or the gateway. Its proxy is at IP, its app, if it has one, at AppIP.
type workload struct {
	Name           string // pod-like
	Deployment     string // deployment-like
	Namespace      string
	ServiceAccount string
	Labels         map[string]string
	Type           string // "sidecar" or "router"
	IP             string
	Kind           string // of app; "" for the gateway
	AppIP          string
	Port           int
	Env            []string // of the app, beyond what all get
}

// gatewayPorts are where the gateway listens for ports 80, 443 and 31400 of the mesh.
type gatewayPorts [3]int

func (g gatewayPorts) http() int { return g[0] }
func (g gatewayPorts) tls() int  { return g[1] }
func (g gatewayPorts) tcp() int  { return g[2] }

// plan is everything that runs and where, from the block and the flags alone.
type plan struct {
	gatewayPorts
	stateDir   string
	block      string
	executable string
	goRun      bool   // the program was started by `go run`
	stateFlag  string // what the user gave as --state-dir, for the commands that the table suggests
	fresh      bool   // the configuration is the one that seed wrote in this run
	begun      time.Time
	workloads  []workload
}

func newPlan(stateDir, block string, ports gatewayPorts, executable string) *plan {
	p := &plan{stateDir: stateDir, block: block, gatewayPorts: ports, executable: executable, goRun: madeByGoRun(executable)}
	if p.goRun && runtime.GOOS == "linux" {
		// `go run` deletes its program when it ends, which is before a detached demo does. The running program's file stays within reach
		// under this name (proc(5)), also for the processes that are started again later.
		p.executable = "/proc/self/exe"
	}
	p.workloads = append(p.workloads, workload{
		Name: "istio-ingressgateway-1", Deployment: "istio-ingressgateway", Namespace: rootNamespace,
		ServiceAccount: "istio-ingressgateway-service-account", Type: "router", IP: block + ".0.2",
		Labels: map[string]string{"app": "istio-ingressgateway", "istio": "ingressgateway"},
	})
	shop := []struct {
		kind, version string
		port          int
		env           []string
	}{
		{"webapp", "", 8080, nil},
		{"catalog", "v1", 3000, nil},
		{"catalog", "v2", 3000, []string{"SHOW_IMAGE=true"}},
		{"forum", "", 8080, []string{"USERS_URL=http://" + p.usersAddress() + "/users"}},
	}
	for i, app := range shop {
		deployment, labels := app.kind, map[string]string{"app": app.kind}
		if app.version != "" {
			deployment += "-" + app.version
			labels["version"] = app.version
		}
		n := strconv.Itoa(i + 1)
		p.workloads = append(p.workloads, workload{
			Name: deployment + "-1", Deployment: deployment, Namespace: shopNamespace, ServiceAccount: app.kind, Labels: labels,
			Type: "sidecar", IP: block + ".1." + n, Kind: app.kind, AppIP: block + ".3." + n, Port: app.port, Env: app.env,
		})
	}
	return p
}

func (p *plan) path(parts ...string) string {
	return filepath.Join(append([]string{p.stateDir}, parts...)...)
}

func (p *plan) controlPlane(port int) string {
	return net.JoinHostPort(p.block+".0.1", strconv.Itoa(port))
}

func gatewayAddress(port int) string { return net.JoinHostPort(gatewayBind, strconv.Itoa(port)) }

func (p *plan) gateway() string { return gatewayAddress(p.http()) }

// usersAddress is where the service outside the mesh listens.
func (p *plan) usersAddress() string { return p.block + ".2.1:8000" }

func (w workload) admin() string     { return net.JoinHostPort(w.IP, "15000") }
func (w workload) httpProxy() string { return net.JoinHostPort(w.IP, "15080") }
func (w workload) app() string       { return net.JoinHostPort(w.AppIP, strconv.Itoa(w.Port)) }

// runFile is run.json for the plan, with the processes as they are now.
func (p *plan) runFile(statuses []supervise.Status) *runfile.Run {
	run := &runfile.Run{
		PID: os.Getpid(), Block: p.block, Gateway: p.gateway(), GatewayTLS: gatewayAddress(p.tls()), GatewayTCP: gatewayAddress(p.tcp()),
		XDS: p.controlPlane(15010), XDSTLS: p.controlPlane(15012), Debug: p.controlPlane(15014),
	}
	for _, w := range p.workloads {
		run.Proxies = append(run.Proxies, runfile.Proxy{Name: w.Name, Namespace: w.Namespace, Workload: w.Deployment, Type: w.Type, Admin: w.admin()})
		if w.Kind != "" {
			run.Apps = append(run.Apps, runfile.App{Name: w.Name, App: w.Kind, Version: w.Labels["version"], Address: w.app()})
		}
	}
	run.Apps = append(run.Apps, runfile.App{Name: "users-1", App: "users", Address: p.usersAddress()})
	for _, s := range statuses {
		run.Processes = append(run.Processes, runfile.Process{Name: s.Name, PID: s.PID, Log: s.Log})
	}
	return run
}

// controlPlaneProcess is started first, alone.
func (p *plan) controlPlaneProcess() supervise.Process {
	return p.process("control-plane", nil, "control-plane", "--state-dir", p.stateDir, "--address", p.block+".0.1", "--instance", "istiod-1")
}

// meshProcesses are all others: each proxy, then the apps.
func (p *plan) meshProcesses() []supervise.Process {
	var out []supervise.Process
	for _, w := range p.workloads {
		out = append(out, p.proxyProcess(w))
	}
	for _, w := range p.workloads {
		if w.Kind != "" {
			env := append([]string{
				"HTTP_PROXY=http://" + w.httpProxy(), "http_proxy=http://" + w.httpProxy(), "POD_NAME=" + w.Name, "POD_NAMESPACE=" + w.Namespace, "POD_IP=" + w.IP,
			}, w.Env...)
			out = append(out, p.process(w.Name, env, "sample", "serve", w.Kind, "--address", w.app()))
		}
	}
	return append(out, p.process("users-1", nil, "sample", "serve", "users", "--address", p.usersAddress()))
}

func (p *plan) proxyProcess(w workload) supervise.Process {
	args := []string{
		"proxy", w.Type, "--name", w.Name, "--namespace", w.Namespace, "--service-account", w.ServiceAccount, "--workload", w.Deployment,
		"--ip", w.IP, "--discovery-address", p.controlPlane(15012), "--root-cert", p.path("ca", "root-cert.pem"),
		"--token-file", p.tokenFile(w), "--config-path", p.path("proxy", w.Name),
	}
	for _, key := range sortedKeys(w.Labels) {
		args = append(args, "--label", key+"="+w.Labels[key])
	}
	name := w.Name
	if w.Type == "sidecar" {
		name += ".sidecar"
		args = append(args, "--app", w.Kind, "--http-proxy", w.httpProxy(), "--concurrency", "1",
			"--inbound", strconv.Itoa(w.Port)+"="+netip.MustParseAddrPort(w.app()).String())
	} else {
		args = append(args, "--bind", gatewayBind)
	}
	env := []string{"ISTIO_META_OWNER=kubernetes://apis/apps/v1/namespaces/" + w.Namespace + "/deployments/" + w.Deployment}
	return p.process(name, env, args...)
}

func (p *plan) tokenFile(w workload) string { return p.path("tokens", w.Name) }

// process is a run of this program. The environment is the supervisor's, without what would send the mesh's own calls elsewhere.
func (p *plan) process(name string, env []string, args ...string) supervise.Process {
	return supervise.Process{Name: name, Path: p.executable, Args: args, Env: append(cleanEnvironment(os.Environ()), env...), Log: p.path("logs", name+".log")}
}

// madeByGoRun says whether a program lies where `go run` puts it: TMP/go-build123/b001/exe/lateen.
func madeByGoRun(executable string) bool {
	dir := filepath.Dir(executable)
	return filepath.Base(dir) == "exe" && strings.Contains(dir, string(filepath.Separator)+"go-build")
}
