package analyze

import "github.com/lateen-mesh/lateen/config/schema"

// noEffectYet is said of a field without a reason: it belongs to what is being built.
const noEffectYet = "has no effect yet"

// reasons say of fields that are not effective why, and what to do instead. As in effective an entry stands for all below it, and "field=VALUE" for a value.
var reasons = map[*schema.Kind]map[string]string{
	schema.WorkloadGroup: {
		"template.address": "has no effect: a workload's address is the one that it registers with",
	},
	schema.Gateway: {
		"servers.port.targetPort":                    "has no effect, as in Istio: the Service of the gateway maps its ports",
		"servers.defaultEndpoint":                    "has no effect, as in Istio: route to the endpoint by a VirtualService and a ServiceEntry",
		"servers.tls.tlsCertificates.caCertificates": "has no effect, as in Istio: one authority is for the whole server; write tls.caCertificates",
	},
	schema.Telemetry: {
		"targetRef":  "has no effect yet: Gateways of the Gateway API belong to its stage; select the workloads by selector",
		"targetRefs": "has no effect yet: Gateways of the Gateway API belong to its stage; select the workloads by selector",
		"metrics":    "has no effect yet: what of the standard metrics is kept belongs to the metrics' stage; they are kept as they are",
	},
	schema.EnvoyFilter: {
		"configPatches.match.context=WAYPOINT":  "has no effect: there are no waypoints here; use ANY, SIDECAR_INBOUND, SIDECAR_OUTBOUND or GATEWAY",
		"configPatches.match.waypoint":          "has no effect: there are no waypoints here; match a sidecar or a gateway by context and workloadSelector",
		"configPatches.match.listener.portName": "has no effect, as in Istio: match by portNumber or name",
		"configPatches.patch.filterClass":       "has no effect, as in Istio: say where a filter stands by INSERT_BEFORE or INSERT_AFTER and the name of another",
	},
	schema.VirtualService: {
		"http.fault.delay.exponentialDelay": "has no effect, as in Istio: write fixedDelay",
		"http.fault.abort.http2Error":       "has no effect, as in Istio: write httpStatus or grpcStatus",
		"tcp.match.sourceSubnet":            "has no effect, as in Istio: tell clients apart by sourceLabels or sourceNamespace",
	},
	schema.ProxyConfig: {
		"image": "has no effect: the proxy is the program that runs already",
	},
	schema.IngressClass: {
		"parameters": "has no effect, as in Istio: of a class only the controller is read",
	},
	schema.Ingress: {
		"defaultBackend":                    "has no effect, as in Istio: write a rule without a host for path / with pathType Prefix",
		"rules.http.paths.backend.resource": "has no effect, as in Istio: the path is left out; name a service",
	},
	schema.Sidecar: {
		"ingress.port.targetPort": "has no effect, as in Istio: write defaultEndpoint",
		"egress.port.targetPort":  "has no effect, as in Istio: the services' own ports are called",
	},
}

// meshReasons are those of the mesh's settings.
var meshReasons = map[string]string{
	"hboneIdleTimeout": "has no effect: it is for connections to the proxies of nodes by HBONE, of which there are none here",

	"defaultConfig.configPath":                      ownAgent,
	"defaultConfig.binaryPath":                      ownAgent,
	"defaultConfig.proxyBootstrapTemplatePath":      "has no effect: it is a template of Istio's own agent; write a whole bootstrap as customConfigFile, or change what the agent makes by an EnvoyFilter with applyTo BOOTSTRAP",
	"defaultConfig.discoveryAddress":                "has no effect in the mesh's settings: whoever is told them has found the control plane; an agent takes it from PROXY_CONFIG or --discovery-address",
	"defaultConfig.discoveryRefreshDelay":           "has no effect, as in Istio: what changed is pushed at once",
	"defaultConfig.envoyMetricsServiceAddress":      "has no effect, as in Istio: it was replaced by envoyMetricsService",
	"defaultConfig.availabilityZone":                "has no effect, as in Istio: locality comes from the workload",
	"defaultConfig.controlPlaneAuthPolicy":          "has no effect: agents speak mutual TLS to the control plane with NONE too",
	"defaultConfig.statNameLength":                  "has no effect, as in Istio: names have no limit",
	"defaultConfig.interceptionMode":                "has no effect: whoever starts the workload says whether connections are captured (lateen run --capture-user), which is by REDIRECT",
	"defaultConfig.sds":                             "has no effect, as in Istio: secrets always come from the agent",
	"defaultConfig.extraStatTags":                   "has no effect: it was for metrics whose labels had to be found in their names; a label that a Telemetry adds needs no list",
	"defaultConfig.proxyStatsMatcher":               "has no effect: it adds to the few statistics that Istio's proxies have, and here proxies have all of them; an EnvoyFilter with applyTo BOOTSTRAP has fewer (stats_config.stats_matcher)",
	"defaultConfig.holdApplicationUntilProxyStarts": "has no effect: lateen run always waits for the proxy; with containers it belongs to Kubernetes' stage",
	"defaultConfig.image":                           "has no effect: the proxy is the program that runs already",
	"defaultConfig.privateKeyProvider":              "has no effect: keys are made and used in memory; there is no accelerator",

	"outboundTrafficPolicy.tls.credentialName": "has no effect: sidecars call unknown hosts, and a sidecar has the credentials of DestinationRules with a workloadSelector alone (with Istio it connects without TLS then); write caCertificates, clientCertificate and privateKey, files at every proxy",

	"configSources.tlsSettings":         "has no effect: it is for sources that are servers (xds://), which there are none of here",
	"configSources.subscribedResources": "has no effect: it is for sources that are servers (xds://), which there are none of here",
	"caCertificates.certSigners":        "has no effect: they are signers of Kubernetes' API, and the mesh's own authority signs here; the root is trusted whoever asked for the certificate",
	"certificates":                      "has no effect: Istio has removed it; certificates of gateways stand in Secrets",
	"ca":                                "has no effect: the control plane is the certificate authority; put an intermediate certificate of your own in its CA folder",
	"serviceSettings":                   "has no effect: there is one cluster, and all services are local to it; belongs to multi-cluster",
	"serviceScopeConfigs":               "has no effect: it is for ambient meshes of several clusters",
	"verifyCertificateAtClient":         "has no effect, as in Istio: servers' certificates are always checked, by the system's authorities where a DestinationRule of mode SIMPLE or MUTUAL names no others; write its insecureSkipVerify for false",
	"meshMTLS.ecdhCurves":               "has no effect, as in Istio: the mesh's own TLS takes the proxy's curves; tlsDefaults.ecdhCurves are those of other TLS",

	"extensionProviders.stackdriver": "has no effect: Istio has removed it; use opentelemetry",
	"extensionProviders.opencensus":  "has no effect: Istio has removed it; use opentelemetry",

	"defaultConfig.tracing.stackdriver":     tracerGone,
	"defaultConfig.tracing.openCensusAgent": tracerGone,
	"defaultConfig.zipkinAddress":           "has no effect, as in Istio: write tracing.zipkin.address",
}

const (
	ownAgent   = "has no effect: the agent knows its program and its folder"
	tracerGone = "has no effect: the proxy has no such tracer; name an extensionProvider of kind opentelemetry, zipkin, skywalking or datadog"
)
