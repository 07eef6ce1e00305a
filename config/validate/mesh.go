package validate

//lint:file-ignore SA1019 People's configurations still have the older fields.

import (
	"cmp"
	"net"
	"net/netip"
	"regexp"
	"strings"

	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config/internal/field"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// MeshConfig returns the broken rules of a mesh configuration, with fields from its root.
func MeshConfig(mc *mesh.MeshConfig) []Problem {
	c := &checker{}
	root := (*field.Path)(nil)
	if d := mc.TrustDomain; d != "" {
		if err := spiffe.CheckTrustDomain(d); err != nil {
			c.add(root.Child("trustDomain"), "%v", err)
		}
	}
	for i, d := range mc.TrustDomainAliases {
		if err := spiffe.CheckTrustDomain(d); err != nil {
			c.add(root.Child("trustDomainAliases").Index(i), "%v", err)
		}
	}
	c.trustAnchors(root, mc)
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
	c.capturePorts(root, mc)
	for i, curve := range mc.GetTlsDefaults().GetEcdhCurves() {
		switch curve {
		case "P-256", "P-384", "P-521", "X25519", "X25519MLKEM768":
		default:
			c.add(root.Child("tlsDefaults", "ecdhCurves").Index(i), "%q is not a curve; use P-256, P-384, P-521, X25519 or X25519MLKEM768", curve)
		}
	}
	c.statName(root.Child("inboundClusterStatName"), mc.InboundClusterStatName, true)
	c.statName(root.Child("outboundClusterStatName"), mc.OutboundClusterStatName, false)
	if t := mc.GetDefaultConfig().GetTracing().GetTlsSettings(); t != nil {
		at := root.Child("defaultConfig", "tracing", "tlsSettings")
		c.clientTLS(at, t)
		if t.CredentialName != "" {
			c.add(at.Child("credentialName"), "is for DestinationRules; name files at the proxy")
		}
	}
	c.addressTracer(root.Child("defaultConfig", "tracing"), mc.GetDefaultConfig().GetTracing())
	if a := mc.GetDefaultConfig().GetStatsdUdpAddress(); a != "" {
		if _, err := netip.ParseAddrPort(a); err != nil {
			c.add(root.Child("defaultConfig", "statsdUdpAddress"), "%q is not IP:PORT; datagrams go to an address, not to a name", a)
		}
	}
	c.remoteService(root.Child("defaultConfig", "envoyAccessLogService"), mc.GetDefaultConfig().GetEnvoyAccessLogService())
	c.remoteService(root.Child("defaultConfig", "envoyMetricsService"), mc.GetDefaultConfig().GetEnvoyMetricsService())
	c.proxyConfig(root.Child("defaultConfig"), mc.GetDefaultConfig())
	for i, s := range mc.DiscoverySelectors {
		c.labelSelector(root.Child("discoverySelectors").Index(i), s)
	}
	for i, p := range mc.GetServiceEntryVisibility().GetPolicies() {
		for j, r := range p.GetMatchingRules() {
			at := root.Child("serviceEntryVisibility", "policies").Index(i).Child("matchingRules").Index(j)
			if r.GetNamespaceSelector() == nil {
				c.add(at, "says nothing; set namespaceSelector")
			}
			c.labelSelector(at.Child("namespaceSelector"), r.GetNamespaceSelector())
		}
	}
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
		c.provider(at, p)
	}
	return c.problems
}

// remoteService checks a service that proxies know by its address.
func (c *checker) remoteService(at *field.Path, s *mesh.RemoteService) {
	if s == nil {
		return
	}
	if host, port, err := net.SplitHostPort(s.Address); err != nil || host == "" {
		c.add(at.Child("address"), "%q is not HOST:PORT", s.Address)
	} else if n, ok := atou(port); !ok || n == 0 || n > 65535 {
		c.add(at.Child("address"), "%q is not a port", port)
	}
	c.clientTLS(at.Child("tlsSettings"), s.TlsSettings)
	if s.TlsSettings.GetCredentialName() != "" {
		c.add(at.Child("tlsSettings", "credentialName"), "is not for this service, as in Istio; name files of the proxies' hosts")
	}
	c.duration(at.Child("tcpKeepalive", "time"), s.GetTcpKeepalive().GetTime(), positive)
	c.duration(at.Child("tcpKeepalive", "interval"), s.GetTcpKeepalive().GetInterval(), positive)
}

// capturePorts checks that what is redirected does not arrive where something else listens.
func (c *checker) capturePorts(root *field.Path, mc *mesh.MeshConfig) {
	taken := map[int32]string{15000: "the proxy's admin API", 15020: "Istio's agent", 15021: "the proxy's health", 15053: "the agent's name server", 15090: "the proxy's metrics"}
	if p := mc.ProxyHttpPort; p != 0 {
		taken[p] = "proxyHttpPort"
	}
	for _, p := range []struct {
		name        string
		port, usual int32
	}{{"proxyListenPort", mc.ProxyListenPort, 15001}, {"proxyInboundListenPort", mc.ProxyInboundListenPort, 15006}} {
		port := cmp.Or(p.port, p.usual)
		if by := taken[port]; by != "" {
			c.add(root.Child(p.name), "port %d is that of %s; choose another", port, by)
		}
		taken[port] = p.name
	}
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

// providerService checks what a provider calls.
func (c *checker) providerService(at *field.Path, service string, port uint32) {
	if service == "" {
		c.add(at.Child("service"), "missing; name a service by its whole host, such as collector.observability.svc.cluster.local")
	} else if strings.Count(service, "/") > 1 || strings.HasPrefix(service, "/") || strings.HasSuffix(service, "/") {
		c.add(at.Child("service"), "%q is not a host or NAMESPACE/HOST", service)
	}
	c.port(at.Child("port"), int64(port), false)
}

// provider checks by which service a provider is reached, and what goes to it.
func (c *checker) provider(at *field.Path, p *mesh.MeshConfig_ExtensionProvider) {
	to := func(kind, service string, port uint32) { c.providerService(at.Child(kind), service, port) }
	headers := func(at *field.Path, list []*mesh.MeshConfig_ExtensionProvider_HttpHeader) {
		for i, h := range list {
			c.header(at.Index(i).Child("name"), h.GetName())
		}
	}
	switch k := p.Provider.(type) {
	case *mesh.MeshConfig_ExtensionProvider_EnvoyHttpAls:
		to("envoyHttpAls", k.EnvoyHttpAls.GetService(), k.EnvoyHttpAls.GetPort())
	case *mesh.MeshConfig_ExtensionProvider_EnvoyTcpAls:
		to("envoyTcpAls", k.EnvoyTcpAls.GetService(), k.EnvoyTcpAls.GetPort())
	case *mesh.MeshConfig_ExtensionProvider_EnvoyOtelAls:
		to("envoyOtelAls", k.EnvoyOtelAls.GetService(), k.EnvoyOtelAls.GetPort())
	case *mesh.MeshConfig_ExtensionProvider_Zipkin:
		to("zipkin", k.Zipkin.GetService(), k.Zipkin.GetPort())
		c.duration(at.Child("zipkin", "timeout"), k.Zipkin.GetTimeout(), atLeastMillisecond)
		headers(at.Child("zipkin", "headers"), k.Zipkin.GetHeaders())
	case *mesh.MeshConfig_ExtensionProvider_Skywalking:
		to("skywalking", k.Skywalking.GetService(), k.Skywalking.GetPort())
		c.accessToken(at.Child("skywalking", "accessToken"), k.Skywalking.GetAccessToken())
	case *mesh.MeshConfig_ExtensionProvider_Lightstep:
		to("lightstep", k.Lightstep.GetService(), k.Lightstep.GetPort())
		c.accessToken(at.Child("lightstep", "accessToken"), k.Lightstep.GetAccessToken())
	case *mesh.MeshConfig_ExtensionProvider_Sds:
		to("sds", k.Sds.GetService(), k.Sds.GetPort())
		if k.Sds.GetName() == "" {
			c.add(at.Child("sds", "name"), "missing; a credentialName sds://NAME refers to it")
		}
	case *mesh.MeshConfig_ExtensionProvider_Datadog:
		to("datadog", k.Datadog.GetService(), k.Datadog.GetPort())
	case *mesh.MeshConfig_ExtensionProvider_Opentelemetry:
		o := k.Opentelemetry
		to("opentelemetry", o.GetService(), o.GetPort())
		if o.GetHttp() != nil && o.GetGrpc() != nil {
			c.add(at.Child("opentelemetry", "grpc"), "spans go out by http already; remove one")
		}
		c.duration(at.Child("opentelemetry", "http", "timeout"), o.GetHttp().GetTimeout(), atLeastMillisecond)
		c.duration(at.Child("opentelemetry", "grpc", "timeout"), o.GetGrpc().GetTimeout(), atLeastMillisecond)
		headers(at.Child("opentelemetry", "http", "headers"), o.GetHttp().GetHeaders())
		headers(at.Child("opentelemetry", "grpc", "initialMetadata"), o.GetGrpc().GetInitialMetadata())
		if d := o.GetDynatraceSampler(); d != nil {
			here, api := at.Child("opentelemetry", "dynatraceSampler"), d.GetHttpService()
			if d.GetTenant() == "" {
				c.add(here.Child("tenant"), "missing; it is the identifier of the Dynatrace environment")
			}
			switch {
			case api != nil:
				c.providerService(here.Child("httpService"), api.GetService(), api.GetPort())
				if api.GetHttp().GetPath() == "" {
					c.add(here.Child("httpService", "http", "path"), "missing; it is where Dynatrace tells what to sample, such as api/v2/samplingConfiguration")
				}
				c.duration(here.Child("httpService", "http", "timeout"), api.GetHttp().GetTimeout(), atLeastMillisecond)
				headers(here.Child("httpService", "http", "headers"), api.GetHttp().GetHeaders())
			case o.GetHttp() == nil:
				c.add(here.Child("httpService"), "missing; spans go out by gRPC, so name a service that is asked by HTTP")
			}
		}
	}
}

// labelSelector checks the conditions of a selector of namespaces.
func (c *checker) labelSelector(at *field.Path, s *mesh.LabelSelector) {
	for i, e := range s.GetMatchExpressions() {
		at := at.Child("matchExpressions").Index(i)
		if e.GetKey() == "" {
			c.add(at.Child("key"), "missing; name a label")
		}
		switch e.GetOperator() {
		case "In", "NotIn":
			if len(e.GetValues()) == 0 {
				c.add(at.Child("values"), "missing; operator %s needs some", e.GetOperator())
			}
		case "Exists", "DoesNotExist":
			if len(e.GetValues()) > 0 {
				c.add(at.Child("values"), "have no meaning with operator %s; remove them", e.GetOperator())
			}
		default:
			c.add(at.Child("operator"), "%q is not known; use In, NotIn, Exists or DoesNotExist", e.GetOperator())
		}
	}
}
