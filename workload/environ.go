package workload

import (
	"maps"
	"slices"
	"strings"
)

// AppEnvironment is what an application is told when nothing of it is redirected: who it is, where to listen (HOST and PORT, of its first port), and its way into
// the mesh. What it reaches on this machine without the mesh (localhost) it reaches as ever.
func (w Workload) AppEnvironment() []string {
	if w.Type == Outside {
		return w.CapturedEnvironment()
	}
	proxy := "http://" + w.HTTPProxy()
	env := append(w.identity(), "HTTP_PROXY="+proxy, "http_proxy="+proxy, "NO_PROXY=localhost,127.0.0.1", "no_proxy=localhost,127.0.0.1")
	return append(env, w.Env...)
}

// CapturedEnvironment is what an application is told whose connections are redirected to its proxy: everything but the proxy.
func (w Workload) CapturedEnvironment() []string { return append(w.identity(), w.Env...) }

func (w Workload) identity() []string {
	env := []string{"POD_NAME=" + w.Name, "POD_NAMESPACE=" + w.Namespace, "POD_IP=" + w.IP}
	if len(w.Ports) > 0 {
		app := w.Ports[0].App
		env = append(env, "HOST="+app.Addr().String(), "PORT="+portText(app.Port()))
	}
	return env
}

// hostVariables are those of Istio's that the proxies of a whole mesh may be told by: on-demand discovery off ("false"), and whether agents answer DNS queries, with
// addresses of the mesh's giving where a host has none.
var hostVariables = []string{"ISTIO_META_LATEEN_ON_DEMAND", "ISTIO_META_DNS_CAPTURE", "ISTIO_META_DNS_AUTO_ALLOCATE"}

// CleanEnvironment leaves out the variables that would change what a process of the mesh does: proxies, and those that the mesh's own
// commands read.
func CleanEnvironment(environ []string) []string {
	var out []string
	for _, pair := range environ {
		key, _, _ := strings.Cut(pair, "=")
		switch strings.ToUpper(key) {
		case "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "LATEEN_STATE", "PROXY_CONFIG", "CA_ADDR", "TRUST_DOMAIN", "ISTIO_PROMETHEUS_ANNOTATIONS",
			"POD_NAME", "POD_NAMESPACE", "INSTANCE_IP", "SERVICE_ACCOUNT", "SHOW_IMAGE", "CATALOG_URL", "FORUM_URL", "USERS_URL", "ENABLE_RATINGS", "STAR_COLOR", "CLUSTER_NAME", "SERVICES_DOMAIN",
			"DETAILS_HOSTNAME", "RATINGS_HOSTNAME", "REVIEWS_HOSTNAME", "DETAILS_SERVICE_PORT", "RATINGS_SERVICE_PORT", "REVIEWS_SERVICE_PORT":
			continue
		}
		if strings.HasPrefix(key, "ISTIO_META") && !slices.Contains(hostVariables, key) {
			continue
		}
		out = append(out, pair)
	}
	return out
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
