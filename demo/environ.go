package demo

import (
	"maps"
	"slices"
	"strings"
)

// cleanEnvironment leaves out the variables that would change what a process of the mesh does: proxies, and those that the mesh's own
// commands read.
func cleanEnvironment(environ []string) []string {
	var out []string
	for _, pair := range environ {
		key, _, _ := strings.Cut(pair, "=")
		switch strings.ToUpper(key) {
		case "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "LATEEN_STATE", "PROXY_CONFIG", "CA_ADDR", "TRUST_DOMAIN",
			"POD_NAME", "POD_NAMESPACE", "INSTANCE_IP", "SERVICE_ACCOUNT", "SHOW_IMAGE", "CATALOG_URL", "FORUM_URL", "USERS_URL":
			continue
		}
		if strings.HasPrefix(key, "ISTIO_META") {
			continue
		}
		out = append(out, pair)
	}
	return out
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
