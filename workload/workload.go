package workload

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/agent/status"
)

// What stands beside a workload: the types of proxies, as in node ids of Istio, or none.
const (
	Sidecar = "sidecar"
	Router  = "router"
	Outside = "none" // a program that is no part of the mesh
)

// Workload is one instance: a process with its proxy, or a gateway.
type Workload struct {
	// Name is the instance's, as a pod's: "catalog-v1-1".
	Name string
	// Deployment is what the instances of one workload share: "catalog-v1".
	Deployment     string
	Namespace      string
	ServiceAccount string
	Labels         map[string]string
	// Type is Sidecar, Router or Outside.
	Type string
	// IP is where the proxy listens, which is the workload's address in the mesh.
	IP string
	// LocalIP is where the proxy opens what is for this machine alone: its admin API, and the port for the application's own requests. "" is IP, for an address that
	// only this machine has.
	LocalIP string
	// Bind is where a router opens its servers' ports.
	Bind string
	// AppIP is the address that is the application's own; "" for none, such as a gateway.
	AppIP string
	// Ports are what the workload serves.
	Ports []Port
	// App names the application in telemetry and in `lateen sample`; "" for none.
	App string
	// Command is the application's program and arguments; empty: somebody else runs it.
	Command []string
	// Dir is the folder that the application runs in; "" is that of this program.
	Dir string
	// Metrics are the application's, which the agent merges with the proxy's; nil: it has none.
	Metrics *status.Application
	// MergeMetrics says whether it does, whatever the mesh says (annotation prometheus.istio.io/merge-metrics); nil: as the mesh says.
	MergeMetrics *bool
	// Env of the application, beyond what all get. NAME=VALUE.
	Env []string
}

// Port is a port of the workload and where the application behind the proxy serves it.
type Port struct {
	Number uint16
	App    netip.AddrPort
}

// String is the form that `lateen proxy sidecar --inbound` takes.
func (p Port) String() string { return strconv.Itoa(int(p.Number)) + "=" + p.App.String() }

// ParsePort reads a port as users write it: "3000", which the application serves on that port of appIP; "3000=4000", which it serves on port 4000 of
// 127.0.0.1; and "3000=IP:PORT".
func ParsePort(text, appIP string) (Port, error) {
	number, at, given := strings.Cut(text, "=")
	bad := func() (Port, error) {
		return Port{}, fmt.Errorf("port %q: want PORT, PORT=APP-PORT (of 127.0.0.1) or PORT=IP:APP-PORT", text)
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 {
		return bad()
	}
	host := "127.0.0.1"
	switch {
	case !given:
		host, at = appIP, number
	case strings.Contains(at, ":"):
		if host, at, err = net.SplitHostPort(at); err != nil {
			return bad()
		}
	}
	app, err := netip.ParseAddrPort(net.JoinHostPort(host, at))
	if err != nil || app.Port() == 0 {
		return bad()
	}
	return Port{Number: uint16(n), App: app}, nil
}

// dnsLabel is what names of Kubernetes look like (RFC 1123, section 2.1), here with dots.
var dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// Validate says what is wrong with names and addresses.
func (w Workload) Validate() error {
	var errs []error
	for what, name := range map[string]string{"name": w.Name, "namespace": w.Namespace, "service account": w.ServiceAccount} {
		if !dnsLabel.MatchString(name) || len(name) > 253 {
			errs = append(errs, fmt.Errorf("%s %q: want lower-case letters, digits and dashes", what, name))
		}
	}
	if w.Type != Sidecar && w.Type != Router && w.Type != Outside {
		errs = append(errs, fmt.Errorf("BUG: type %q", w.Type))
	}
	if _, err := netip.ParseAddr(w.IP); err != nil {
		errs = append(errs, fmt.Errorf("address %q: %w", w.IP, err))
	}
	if m := w.Metrics; m != nil {
		switch m.Port {
		case 15000, 15020, 15021, 15090:
			errs = append(errs, fmt.Errorf("metrics at port %d: it is the proxy's or its agent's; name the application's", m.Port))
		}
	}
	seen := map[uint16]bool{}
	for _, p := range w.Ports {
		if seen[p.Number] {
			errs = append(errs, fmt.Errorf("port %d is there twice", p.Number))
		}
		seen[p.Number] = true
	}
	return errors.Join(errs...)
}

// Admin is the address of the proxy's admin API.
func (w Workload) Admin() string { return net.JoinHostPort(w.local(), "15000") }

// HTTPProxy is where the proxy takes the application's own requests.
func (w Workload) HTTPProxy() string { return net.JoinHostPort(w.local(), "15080") }

func (w Workload) local() string {
	if w.LocalIP != "" {
		return w.LocalIP
	}
	return w.IP
}

// AppAddress is where the application serves its first port; "" when it has none.
func (w Workload) AppAddress() string {
	if len(w.Ports) == 0 {
		return ""
	}
	return w.Ports[0].App.String()
}

// ProxyProcess is the name under which the proxy runs.
func (w Workload) ProxyProcess() string { return ProxyProcess(w.Type, w.Name) }

// ProxyProcess is the name under which the proxy of an instance runs.
func ProxyProcess(proxyType, name string) string {
	if proxyType == Sidecar {
		return name + ".sidecar"
	}
	return name
}
