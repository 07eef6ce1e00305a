package analyze

import "github.com/lateen-mesh/lateen/config/schema"

// noEffectYet is said of a field without a reason: it belongs to what is being built.
const noEffectYet = "has no effect yet"

// reasons say of fields that are not effective why, and what to do instead. As in effective an entry stands for all below it.
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
		"targetRef":            "has no effect yet: Gateways of the Gateway API belong to its stage; select the workloads by selector",
		"targetRefs":           "has no effect yet: Gateways of the Gateway API belong to its stage; select the workloads by selector",
		"metrics":              "has no effect yet: what of the standard metrics is kept belongs to the metrics' stage; they are kept as they are",
		"accessLogging.filter": "has no effect yet: CEL expressions belong to the extensions' stage; everything is logged",
	},
	schema.EnvoyFilter: {
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
	schema.Sidecar: {
		"ingress.port.targetPort": "has no effect, as in Istio: write defaultEndpoint",
		"egress.port.targetPort":  "has no effect, as in Istio: the services' own ports are called",
	},
}

// meshReasons are those of the mesh's settings.
var meshReasons = map[string]string{
	"extensionProviders.lightstep":   "has no effect: the proxy has no such tracer; Lightstep takes opentelemetry",
	"extensionProviders.datadog":     "has no effect: the proxy has no such tracer; Datadog's agent takes opentelemetry and zipkin",
	"extensionProviders.stackdriver": "has no effect: Istio has removed it; use opentelemetry",
	"extensionProviders.opencensus":  "has no effect: Istio has removed it; use opentelemetry",
	"extensionProviders.skywalking":  "has no effect: the proxy has no such tracer; SkyWalking takes zipkin and opentelemetry",
	"extensionProviders.sds":         "has no effect yet: secrets from elsewhere belong to the identity's stage; write a Secret",

	"extensionProviders.envoyExtAuthzHttp": "has no effect yet: it belongs to the policies' stage",
	"extensionProviders.envoyExtAuthzGrpc": "has no effect yet: it belongs to the policies' stage",

	"extensionProviders.zipkin.headers.envName":                     secretOfControlPlane,
	"extensionProviders.opentelemetry.http.headers.envName":         secretOfControlPlane,
	"extensionProviders.opentelemetry.grpc.initialMetadata.envName": secretOfControlPlane,
	"extensionProviders.opentelemetry.resourceDetectors.dynatrace":  "has no effect: it reads files of Dynatrace's agent; give the attributes by environment and OTEL_RESOURCE_ATTRIBUTES",
	"extensionProviders.opentelemetry.serviceAttributeEnrichment":   "has no effect yet: it reads what Kubernetes knows of a pod, and belongs to its stage; give the attributes by resourceDetectors.environment",
	"extensionProviders.opentelemetry.dynatraceSampler":             "has no effect: it asks Dynatrace what to sample; say it by randomSamplingPercentage",
	"defaultProviders.metrics":                                      "has no effect: Istio's standard metrics are always kept, for Prometheus",
	"defaultConfig.tracing.lightstep":                               tracerGone,
	"defaultConfig.tracing.datadog":                                 tracerGone,
	"defaultConfig.tracing.stackdriver":                             tracerGone,
	"defaultConfig.tracing.openCensusAgent":                         tracerGone,
	"defaultConfig.tracing.tlsSettings":                             "has no effect: name an extensionProvider, whose service's DestinationRule says how it is called",
	"defaultConfig.zipkinAddress":                                   "has no effect, as in Istio: write tracing.zipkin.address",
}

const (
	secretOfControlPlane = "has no effect: the control plane gives away nothing of its environment; write value"
	tracerGone           = "has no effect: the proxy has no such tracer; name an extensionProvider of kind opentelemetry or zipkin"
)
