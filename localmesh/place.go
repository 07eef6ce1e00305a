package localmesh

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/workload"
)

// GatewayBind is where the gateway's servers listen: the laptop's own loopback address, so that `curl localhost:8080` works.
const GatewayBind = "127.0.0.1"

// RootNamespace is Istio's, where the gateway runs.
const RootNamespace = "istio-system"

// Ports are where the gateway listens for ports 80, 443 and 31400 of the mesh.
type Ports [3]int

// HTTP is where port 80 is.
func (p Ports) HTTP() int { return p[0] }

// TLS is where port 443 is.
func (p Ports) TLS() int { return p[1] }

// TCP is where port 31400 is.
func (p Ports) TCP() int { return p[2] }

// Place is where a mesh runs: everything that follows from the block and the flags alone.
type Place struct {
	workload.Site
	Ports
	// StateDir is the folder of the mesh, absolute.
	StateDir string
	// Block is "127.B": every program of the mesh has an address in 127.B.0.0/16.
	Block string
	// StateFlag is what the user wrote as --state-dir, "" for nothing.
	StateFlag string
	// Begun is when the start began.
	Begun time.Time

	goRun bool // the program was started by `go run`
}

func newPlace(stateDir, block string, ports Ports, executable string) Place {
	p := Place{Ports: ports, StateDir: stateDir, Block: block, goRun: madeByGoRun(executable)}
	if p.goRun && isLinux {
		// `go run` deletes its program when it ends, which is before a detached mesh does. The running program's file stays within reach
		// under this name (proc(5)), also for the processes that are started again later.
		executable = "/proc/self/exe"
	}
	p.Site = workload.Site{
		Executable: executable, Dir: stateDir, Discovery: p.ControlPlane(15012), RootCert: filepath.Join(stateDir, "ca", "root-cert.pem"),
	}
	return p
}

// Path is a path below the state folder.
func (p Place) Path(parts ...string) string {
	return filepath.Join(append([]string{p.StateDir}, parts...)...)
}

// ControlPlane is one of the control plane's addresses.
func (p Place) ControlPlane(port int) string {
	return net.JoinHostPort(p.Block+".0.1", strconv.Itoa(port))
}

// Gateway is where the gateway answers for port 80.
func (p Place) Gateway() string { return gatewayAddress(p.HTTP()) }

func gatewayAddress(port int) string { return net.JoinHostPort(GatewayBind, strconv.Itoa(port)) }

// Addresses are those of the n-th workload, from 1: where its proxy listens, and where its application does.
func (p Place) Addresses(n int) (proxy, app string) {
	return p.address(1, n), p.address(3, n)
}

// Outside is the address of the n-th program that is no part of the mesh.
func (p Place) Outside(n int) string { return p.address(2, n) }

func (p Place) address(third, n int) string {
	return p.Block + "." + strconv.Itoa(third) + "." + strconv.Itoa(n)
}

// Command is how the user calls this program, with the flag that finds this mesh where it is needed.
func (p Place) Command() string {
	me := "lateen"
	if p.goRun {
		me = "go run ./cmd/lateen"
	}
	if p.StateFlag != "" {
		me += " --state-dir " + p.StateFlag
	}
	return me
}

// gatewayWorkload is the ingress gateway.
func (p Place) gatewayWorkload() workload.Workload {
	return workload.Workload{
		Name: "istio-ingressgateway-1", Deployment: "istio-ingressgateway", Namespace: RootNamespace,
		ServiceAccount: "istio-ingressgateway-service-account", Type: workload.Router, IP: p.Block + ".0.2", Bind: GatewayBind,
		Labels: map[string]string{"app": "istio-ingressgateway", "istio": "ingressgateway"},
	}
}

// madeByGoRun says whether a program lies where `go run` puts it: TMP/go-build123/b001/exe/lateen.
func madeByGoRun(executable string) bool {
	dir := filepath.Dir(executable)
	return filepath.Base(dir) == "exe" && strings.Contains(dir, string(filepath.Separator)+"go-build")
}
