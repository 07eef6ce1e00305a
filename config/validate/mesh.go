package validate

import (
	"regexp"

	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

// MeshConfig returns the broken rules of a mesh configuration, with fields from its root.
func MeshConfig(mc *mesh.MeshConfig) []Problem {
	c := &checker{}
	root := (*field.Path)(nil)
	c.duration(root.Child("connectTimeout"), mc.ConnectTimeout, atLeastMillisecond)
	c.duration(root.Child("tcpKeepalive", "time"), mc.GetTcpKeepalive().GetTime(), positive)
	c.duration(root.Child("tcpKeepalive", "interval"), mc.GetTcpKeepalive().GetInterval(), positive)
	c.duration(root.Child("dnsRefreshRate"), mc.DnsRefreshRate, atLeastMillisecond)
	if l := mc.LocalityLbSetting; l != nil {
		c.locality(root.Child("localityLbSetting"), l)
	}
	c.connectionPool(root.Child("defaultTrafficPolicy", "connectionPool"), mc.GetDefaultTrafficPolicy().GetConnectionPool())
	c.outlier(root.Child("defaultTrafficPolicy", "outlierDetection"), mc.GetDefaultTrafficPolicy().GetOutlierDetection())
	c.port(root.Child("proxyListenPort"), int64(mc.ProxyListenPort), true)
	c.port(root.Child("proxyInboundListenPort"), int64(mc.ProxyInboundListenPort), true)
	c.port(root.Child("proxyHttpPort"), int64(mc.ProxyHttpPort), true)
	for i, curve := range mc.GetTlsDefaults().GetEcdhCurves() {
		switch curve {
		case "P-256", "P-384", "P-521", "X25519", "X25519MLKEM768":
		default:
			c.add(root.Child("tlsDefaults", "ecdhCurves").Index(i), "%q is not a curve; use P-256, P-384, P-521, X25519 or X25519MLKEM768", curve)
		}
	}
	c.statName(root.Child("inboundClusterStatName"), mc.InboundClusterStatName, true)
	c.statName(root.Child("outboundClusterStatName"), mc.OutboundClusterStatName, false)
	names := map[string]bool{}
	for i, p := range mc.ExtensionProviders {
		at := root.Child("extensionProviders").Index(i)
		switch {
		case p.Name == "":
			c.add(at.Child("name"), "missing; a provider is referred to by its name")
		case names[p.Name]:
			c.add(at.Child("name"), "%q is the name of two providers; rename one", p.Name)
		case p.Provider == nil:
			c.add(at, "provider %q has no type; set one such as envoyFileAccessLog or zipkin", p.Name)
		}
		names[p.Name] = true
	}
	return c.problems
}

var statOperator = regexp.MustCompile(`%[A-Z_]*%`)

// statName checks the operators of a pattern for clusters' names in statistics.
func (c *checker) statName(p *field.Path, pattern string, inbound bool) {
	for _, op := range statOperator.FindAllString(pattern, -1) {
		switch op {
		case "%SERVICE%", "%SERVICE_NAME%", "%SERVICE_FQDN%", "%SERVICE_PORT%", "%SERVICE_PORT_NAME%":
			continue
		case "%SUBSET_NAME%":
			if !inbound {
				continue
			}
		case "%TARGET_PORT%":
			if inbound {
				continue
			}
		}
		c.add(p, "%s has no meaning here; use %%SERVICE%%, %%SERVICE_NAME%%, %%SERVICE_FQDN%%, %%SERVICE_PORT%%, %%SERVICE_PORT_NAME%%, %%TARGET_PORT%% (inbound) or %%SUBSET_NAME%% (outbound)", op)
	}
}
