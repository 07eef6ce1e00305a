package workload

import (
	"os"
	"path/filepath"
	"strconv"

	"github.com/lateen-mesh/lateen/pkg/supervise"
)

// Site is what the proxies of one machine have in common.
type Site struct {
	// Executable is this program.
	Executable string
	// Discovery is the control plane's TLS address, HOST:PORT, and RootCert the file with the root that its certificate chains to.
	Discovery, RootCert string
	// Dir is the folder of proxies' files: proxy/, tokens/ and logs/ below it.
	Dir string
}

// TokenFile is where a workload's join token is.
func (s Site) TokenFile(w Workload) string { return filepath.Join(s.Dir, "tokens", w.Name) }

// LogFile is where a process writes.
func (s Site) LogFile(process string) string { return filepath.Join(s.Dir, "logs", process+".log") }

// Proxy is the process of a workload's proxy. Flags are more arguments for it.
func (s Site) Proxy(w Workload, flags ...string) supervise.Process {
	args := []string{
		"proxy", w.Type, "--name", w.Name, "--namespace", w.Namespace, "--service-account", w.ServiceAccount, "--workload", w.Deployment,
		"--ip", w.IP, "--discovery-address", s.Discovery, "--root-cert", s.RootCert,
		"--token-file", s.TokenFile(w), "--config-path", filepath.Join(s.Dir, "proxy", w.Name),
	}
	for _, key := range sortedKeys(w.Labels) {
		args = append(args, "--label", key+"="+w.Labels[key])
	}
	if w.LocalIP != "" {
		args = append(args, "--admin-ip", w.LocalIP)
	}
	if w.Type == Sidecar {
		args = append(args, "--app", w.App, "--default-concurrency", "1")
	} else {
		args = append(args, "--bind", w.Bind)
	}
	// Whoever ends it has had it drain. Where its ports are is known to this machine's commands and to what is redirected, so the mesh does not say.
	args = append(args, "--no-termination-drain", "--admin-port", "15000", "--status-port", "15020")
	args = append(args, flags...)
	env := []string{"ISTIO_META_OWNER=kubernetes://apis/apps/v1/namespaces/" + w.Namespace + "/deployments/" + w.Deployment}
	if w.Metrics != nil {
		env = append(env, w.Metrics.Setting())
	}
	if w.MergeMetrics != nil {
		env = append(env, "ISTIO_META_LATEEN_PROMETHEUS_MERGE="+strconv.FormatBool(*w.MergeMetrics))
	}
	return s.Process(w.ProxyProcess(), env, args...)
}

// ExplicitFlags are the flags of a sidecar to which nothing is redirected: it owns the workload's ports, and the application tells it by HTTP_PROXY
// what it wants to reach.
func (w Workload) ExplicitFlags() []string {
	flags := []string{"--http-proxy", w.HTTPProxy()}
	for _, p := range w.Ports {
		flags = append(flags, "--inbound", p.String())
	}
	return flags
}

// Process is a run of this program. The environment is that of the caller, without what would send the mesh's own calls elsewhere.
func (s Site) Process(name string, env []string, args ...string) supervise.Process {
	return supervise.Process{Name: name, Path: s.Executable, Args: args, Env: append(CleanEnvironment(os.Environ()), env...), Log: s.LogFile(name)}
}

// AppProcess is the process of a workload's application, to which nothing is redirected.
func (s Site) AppProcess(w Workload, environ []string) supervise.Process {
	return supervise.Process{
		Name: w.Name, Path: w.Command[0], Args: w.Command[1:], Dir: w.Dir, Env: append(environ, w.AppEnvironment()...), Log: s.LogFile(w.Name),
	}
}

// portText is a port in decimal digits.
func portText(p uint16) string { return strconv.Itoa(int(p)) }
