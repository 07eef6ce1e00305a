package analyze

import (
	"strings"

	"github.com/lateen-mesh/lateen/config/schema"
)

// effective lists, for each kind, the fields that have an effect. An entry stands for the field
// and everything below it; `field=A,B` for these values alone. Indices and map keys are left out:
// http.match.headers means spec.http[*].match[*].headers[*]. A kind with an empty list has no
// effect at all; a kind that is not listed is taken whole.
//
// Whoever makes a field work adds it here; whoever finds one that does not takes it out.
var effective = map[*schema.Kind][]string{
	schema.Service: {
		"spec.ports.name", "spec.ports.port", "spec.ports.targetPort", "spec.ports.appProtocol=http,https,tcp,tls,kubernetes.io/ws",
		"spec.ports.protocol=TCP",
		// A node port is Kubernetes' business; it changes nothing here and is no mistake.
		"spec.ports.nodePort",
		"spec.selector", "spec.clusterIP", "spec.clusterIPs", "spec.externalName", "spec.publishNotReadyAddresses",
		// Of a network's gateways; else Kubernetes' business.
		"spec.externalIPs",
		"spec.type=ClusterIP,NodePort,LoadBalancer,ExternalName",
		// What `kubectl get -o yaml` says of every Service.
		"spec.ipFamilies", "spec.ipFamilyPolicy", "spec.trafficDistribution=PreferClose,PreferSameZone", "spec.internalTrafficPolicy=Cluster", "spec.externalTrafficPolicy=Cluster", "spec.sessionAffinity=None",
	},
	// What `lateen up` takes of one to run it as processes of this machine; "up" says the same.
	schema.Deployment: {
		"replicas", "selector", "template.metadata.labels",
		"template.metadata.annotations.prometheus.io/scrape", "template.metadata.annotations.prometheus.io/port", "template.metadata.annotations.prometheus.io/path",
		"template.metadata.annotations.prometheus.istio.io/merge-metrics",
		"template.spec.serviceAccountName", "template.spec.serviceAccount",
		"template.spec.containers.name", "template.spec.containers.image", "template.spec.containers.imagePullPolicy",
		"template.spec.containers.ports.name", "template.spec.containers.ports.containerPort", "template.spec.containers.ports.protocol=TCP",
		"template.spec.containers.env.name", "template.spec.containers.env.value",
	},
	schema.ServiceEntry: {
		"hosts", "addresses", "ports.number", "ports.name", "ports.targetPort", "location", "resolution=NONE,STATIC,DNS,DNS_ROUND_ROBIN,DYNAMIC_DNS",
		"ports.protocol=HTTP,HTTPS,HTTP2,GRPC,GRPC-WEB,HTTP_PROXY,MONGO,MYSQL,REDIS,TCP,TLS",
		"endpoints", "workloadSelector", "exportTo", "subjectAltNames",
	},
	schema.WorkloadEntry: {"address", "ports", "labels", "weight", "serviceAccount", "locality", "network"},
	// A workload's address is the one that it registers with.
	schema.WorkloadGroup: {
		"metadata.labels", "metadata.annotations", "probe",
		"template.ports", "template.labels", "template.weight", "template.serviceAccount", "template.locality", "template.network",
	},
	schema.Gateway: {
		"selector", "servers.bind", "servers.name", "servers.hosts",
		// The commands of MONGO, MYSQL and REDIS are not read: they are TCP, and the control plane says so.
		"servers.port.number", "servers.port.name", "servers.port.protocol=HTTP,HTTPS,HTTP2,GRPC,GRPC-WEB,TLS,TCP,MONGO,MYSQL,REDIS",
		"servers.tls.mode", "servers.tls.httpsRedirect",
		"servers.tls.credentialName", "servers.tls.credentialNames", "servers.tls.caCertCredentialName",
		"servers.tls.serverCertificate", "servers.tls.privateKey", "servers.tls.caCertificates", "servers.tls.caCrl",
		"servers.tls.tlsCertificates.serverCertificate", "servers.tls.tlsCertificates.privateKey",
		"servers.tls.subjectAltNames", "servers.tls.verifyCertificateSpki", "servers.tls.verifyCertificateHash", "servers.tls.insecureSkipVerify",
		"servers.tls.minProtocolVersion", "servers.tls.maxProtocolVersion", "servers.tls.cipherSuites",
	},
	schema.VirtualService: {
		"hosts", "gateways", "exportTo",
		"http.name",
		"http.match.name", "http.match.uri", "http.match.scheme", "http.match.method", "http.match.authority", "http.match.headers",
		"http.match.withoutHeaders", "http.match.queryParams", "http.match.ignoreUriCase", "http.match.port", "http.match.gateways",
		"http.match.sourceLabels", "http.match.sourceNamespace", "http.match.statPrefix", "http.delegate",
		"http.route", "http.redirect", "http.directResponse", "http.rewrite", "http.timeout",
		"http.retries.attempts", "http.retries.perTryTimeout", "http.retries.retryOn", "http.retries.retryIgnorePreviousHosts", "http.retries.backoff",
		"http.retries.retryRemoteLocalities",
		"http.fault.delay.fixedDelay", "http.fault.delay.percentage", "http.fault.delay.percent",
		"http.fault.abort.httpStatus", "http.fault.abort.grpcStatus", "http.fault.abort.percentage",
		"http.mirror", "http.mirrors", "http.mirrorPercentage", "http.mirrorPercent",
		"http.corsPolicy", "http.headers",
		"tls.match.sniHosts", "tls.match.destinationSubnets", "tls.match.port", "tls.match.gateways", "tls.match.sourceLabels", "tls.match.sourceNamespace", "tls.route",
		"tcp.match.destinationSubnets", "tcp.match.port", "tcp.match.gateways", "tcp.match.sourceLabels", "tcp.match.sourceNamespace", "tcp.route",
	},
	schema.DestinationRule: append(
		[]string{"host", "exportTo", "workloadSelector", "subsets.name", "subsets.labels"},
		policyFields("trafficPolicy", "subsets.trafficPolicy", "trafficPolicy.portLevelSettings", "subsets.trafficPolicy.portLevelSettings")...),
	schema.Sidecar: {
		"workloadSelector", "egress.hosts", "egress.port.number", "egress.port.name", "egress.bind", "egress.captureMode",
		"egress.port.protocol=HTTP,HTTPS,HTTP2,GRPC,GRPC-WEB,HTTP_PROXY,MONGO,MYSQL,REDIS,TCP,TLS",
		"ingress.port.number", "ingress.port.name", "ingress.bind", "ingress.captureMode", "ingress.defaultEndpoint", "ingress.connectionPool",
		"ingress.port.protocol=HTTP,HTTPS,HTTP2,GRPC,GRPC-WEB,MONGO,MYSQL,REDIS,TCP,TLS", "ingress.tls",
		"outboundTrafficPolicy", "inboundConnectionPool",
	},
	schema.ProxyConfig: {"selector", "concurrency", "environmentVariables"},
	schema.AuthorizationPolicy: {
		"selector", "targetRef", "targetRefs", "action", "provider",
		"rules.from.source.principals", "rules.from.source.notPrincipals", "rules.from.source.namespaces", "rules.from.source.notNamespaces",
		"rules.from.source.serviceAccounts", "rules.from.source.notServiceAccounts", "rules.from.source.trustDomains", "rules.from.source.notTrustDomains",
		"rules.from.source.ipBlocks", "rules.from.source.notIpBlocks", "rules.from.source.remoteIpBlocks", "rules.from.source.notRemoteIpBlocks",
		"rules.from.source.requestPrincipals", "rules.from.source.notRequestPrincipals", "rules.to", "rules.when",
	},
	schema.RequestAuthentication: {"selector", "targetRef", "targetRefs", "jwtRules"},
	schema.PeerAuthentication:    {"selector", "mtls.mode", "portLevelMtls.mode"},
	schema.Telemetry: {
		"selector", "accessLogging.providers", "accessLogging.disabled", "accessLogging.match", "accessLogging.filter.expression",
		"tracing.match", "tracing.providers", "tracing.randomSamplingPercentage", "tracing.disableSpanReporting", "tracing.customTags",
		"tracing.useRequestIdForTraceSampling", "tracing.enableIstioTags", "tracing.disableContextPropagation",
	},

	schema.EnvoyFilter: {
		"workloadSelector", "targetRefs", "priority", "configPatches.applyTo", "configPatches.patch.operation", "configPatches.patch.value",
		"configPatches.match.context=ANY,SIDECAR_INBOUND,SIDECAR_OUTBOUND,GATEWAY", "configPatches.match.proxy",
		"configPatches.match.listener.name", "configPatches.match.listener.portNumber", "configPatches.match.listener.filterChain",
		"configPatches.match.listener.listenerFilter", "configPatches.match.routeConfiguration", "configPatches.match.cluster",
	},

	// What of these depends on other objects is said in their conditions.
	schema.K8sGatewayClass: {"controllerName", "description"},
	schema.K8sGateway: {
		"gatewayClassName", "addresses", "listeners.name", "listeners.hostname", "listeners.port", "listeners.protocol=HTTP,HTTPS,TLS,TCP",
		"listeners.tls.mode", "listeners.tls.certificateRefs", "listeners.allowedRoutes", "tls.frontend",
		// Without Kubernetes nothing is made that they could be put on.
		"infrastructure.labels", "infrastructure.annotations",
	},
	schema.HTTPRoute: {
		"parentRefs", "hostnames", "rules.name", "rules.matches", "rules.timeouts", "rules.retry",
		"rules.filters.type", "rules.filters.requestHeaderModifier", "rules.filters.responseHeaderModifier", "rules.filters.requestRedirect",
		"rules.filters.urlRewrite", "rules.filters.requestMirror", "rules.filters.cors",
		"rules.backendRefs.group", "rules.backendRefs.kind", "rules.backendRefs.namespace", "rules.backendRefs.name", "rules.backendRefs.port", "rules.backendRefs.weight",
		"rules.backendRefs.filters.type", "rules.backendRefs.filters.requestHeaderModifier", "rules.backendRefs.filters.responseHeaderModifier",
	},
	schema.GRPCRoute: {
		"parentRefs", "hostnames", "rules.name", "rules.matches",
		"rules.filters.type", "rules.filters.requestHeaderModifier", "rules.filters.responseHeaderModifier", "rules.filters.requestMirror",
		"rules.backendRefs.group", "rules.backendRefs.kind", "rules.backendRefs.namespace", "rules.backendRefs.name", "rules.backendRefs.port", "rules.backendRefs.weight",
		"rules.backendRefs.filters.type", "rules.backendRefs.filters.requestHeaderModifier", "rules.backendRefs.filters.responseHeaderModifier",
	},
	schema.TLSRoute: {
		"parentRefs", "hostnames", "rules.name", "rules.backendRefs",
	},
	schema.TCPRoute:       {"parentRefs", "rules.name", "rules.backendRefs"},
	schema.ReferenceGrant: {"from", "to"},
	schema.IngressClass:   {"controller"},
	schema.Ingress: {
		"ingressClassName", "tls.hosts", "tls.secretName", "rules.host", "rules.http.paths.path", "rules.http.paths.pathType", "rules.http.paths.backend.service",
	},

	// Parsed and kept; nothing reads them yet.
	schema.WasmPlugin:       {},
	schema.TrafficExtension: {},
	schema.IstioOperator:    {},
}

// policyFields returns the fields of a traffic policy that have an effect, below each of the
// places where one can stand.
func policyFields(places ...string) []string {
	fields := []string{
		"loadBalancer.simple", "loadBalancer.consistentHash", "loadBalancer.localityLbSetting", "loadBalancer.zoneAwareLbSetting",
		"loadBalancer.warmup", "loadBalancer.warmupDurationSecs",
		"outlierDetection.consecutive5xxErrors", "outlierDetection.consecutiveGatewayErrors", "outlierDetection.consecutiveErrors",
		"outlierDetection.consecutiveLocalOriginFailures", "outlierDetection.splitExternalLocalOriginErrors",
		"outlierDetection.interval", "outlierDetection.baseEjectionTime", "outlierDetection.maxEjectionPercent", "outlierDetection.minHealthPercent",
		"outlierDetection.outlierDetectionHttpErrorCodes",
		"connectionPool",
		"tls",
	}
	var out []string
	for _, p := range places {
		extra := []string{"retryBudget", "proxyProtocol", "tunnel"}
		if strings.HasSuffix(p, "portLevelSettings") {
			extra = []string{"port"}
		}
		for _, f := range append(extra, fields...) {
			out = append(out, p+"."+f)
		}
	}
	return out
}

// effectiveMesh lists the mesh's settings (MeshConfig) that have an effect.
var effectiveMesh = []string{
	"trustDomain", "trustDomainAliases", "caCertificates.pem", "caCertificates.spiffeBundleUrl", "caCertificates.trustDomains", "defaultConfig.caCertificatesPem",
	"rootNamespace", "outboundTrafficPolicy.mode=REGISTRY_ONLY,ALLOW_ANY,ALLOW_ANY_DYNAMIC_DNS", "outboundTrafficPolicy.tls.mode",
	"outboundTrafficPolicy.tls.clientCertificate", "outboundTrafficPolicy.tls.privateKey", "outboundTrafficPolicy.tls.caCertificates", "outboundTrafficPolicy.tls.caCrl",
	"outboundTrafficPolicy.tls.subjectAltNames", "outboundTrafficPolicy.tls.sni", "outboundTrafficPolicy.tls.insecureSkipVerify", "inboundTrafficPolicy.mode",
	"pathNormalization", "meshMTLS.minProtocolVersion", "meshMTLS.cipherSuites", "tlsDefaults.minProtocolVersion", "tlsDefaults.ecdhCurves", "tlsDefaults.cipherSuites",
	"disableEnvoyListenerLog", "zoneAwareLbSetting", "inboundClusterStatName", "outboundClusterStatName",
	"accessLogFile", "accessLogFormat", "accessLogEncoding", "connectTimeout", "enableAutoMtls", "enableTracing",
	"defaultConfig.concurrency", "defaultConfig.proxyMetadata", "defaultConfig.tracing.sampling", "defaultConfig.tracing.zipkin",
	"defaultConfig.tracing.datadog", "defaultConfig.tracing.lightstep",
	"defaultConfig.tracing.tlsSettings", "defaultConfig.tracing.customTags", "defaultConfig.tracing.maxPathTagLength", "defaultConfig.tracing.enableIstioTags", "defaultConfig.gatewayTopology",
	"defaultConfig.proxyHeaders.forwardedClientCert", "defaultConfig.proxyHeaders.setCurrentClientCertDetails", "defaultConfig.proxyHeaders.requestId", "defaultConfig.proxyHeaders.server",
	"defaultConfig.proxyHeaders.attemptCount", "defaultConfig.proxyHeaders.envoyDebugHeaders", "defaultConfig.proxyHeaders.xForwardedHost", "defaultConfig.proxyHeaders.xForwardedPort",
	"defaultConfig.proxyHeaders.preserveHttp1HeaderCase",
	// IN_MESH is what proxies do in any case.
	"defaultConfig.proxyHeaders.metadataExchangeHeaders",
	"defaultConfig.connectionSettings.profile", "defaultConfig.connectionSettings.listenerPerConnectionBufferLimitBytes",
	"defaultConfig.connectionSettings.clusterPerConnectionBufferLimitBytes", "defaultConfig.connectionSettings.httpIdleTimeout",
	"defaultConfig.connectionSettings.httpMaxConnectionDuration", "defaultConfig.connectionSettings.httpDrainTimeout",
	"defaultConfig.connectionSettings.httpRequestTimeout", "defaultConfig.connectionSettings.httpRequestHeadersTimeout",
	"defaultConfig.connectionSettings.httpStreamIdleTimeout", "defaultConfig.connectionSettings.httpMaxStreamDuration",
	"defaultConfig.connectionSettings.httpMaxConcurrentStreams", "defaultConfig.connectionSettings.http2InitialStreamWindowSize",
	"defaultConfig.connectionSettings.http2InitialConnectionWindowSize", "defaultConfig.connectionSettings.httpHeadersWithUnderscoresAction",
	"defaultConfig.connectionSettings.httpMergeSlashes", "defaultConfig.connectionSettings.httpPathWithEscapedSlashesAction",
	"defaultConfig.connectionSettings.globalDownstreamConnectionLimit", "defaultConfig.connectionSettings.listenerConnectionLimit",
	"defaultConfig.drainDuration", "defaultConfig.terminationDrainDuration", "defaultConfig.fileFlushInterval", "defaultConfig.fileFlushMinSizeKb", "defaultConfig.meshId",
	"defaultConfig.proxyAdminPort", "defaultConfig.statusPort", "defaultConfig.serviceCluster", "defaultConfig.tracingServiceName", "defaultConfig.readinessProbe", "defaultConfig.statsCompression", "defaultConfig.customConfigFile",
	"defaultConfig.runtimeValues", "defaultConfig.statsdUdpAddress", "tcpKeepalive", "protocolDetectionTimeout",
	"ingressControllerMode", "ingressClass", "ingressService", "ingressSelector",
	"defaultServiceExportTo", "defaultVirtualServiceExportTo", "defaultDestinationRuleExportTo",
	"localityLbSetting", "h2UpgradePolicy", "dnsRefreshRate", "defaultTrafficPolicy.connectionPool",
	"defaultTrafficPolicy.outlierDetection",
	"defaultHttpRetryPolicy", "defaultProviders.accessLogging", "defaultProviders.tracing", "defaultProviders.metrics", "extensionProviders.name",
	"extensionProviders.envoyFileAccessLog", "extensionProviders.envoyHttpAls", "extensionProviders.envoyTcpAls", "extensionProviders.envoyOtelAls",
	"extensionProviders.zipkin.service", "extensionProviders.zipkin.port", "extensionProviders.zipkin.maxTagLength", "extensionProviders.zipkin.enable64bitTraceId",
	"extensionProviders.zipkin.path", "extensionProviders.zipkin.traceContextOption", "extensionProviders.zipkin.timeout",
	"extensionProviders.zipkin.headers.name", "extensionProviders.zipkin.headers.value", "extensionProviders.zipkin.headers.envName",
	"extensionProviders.lightstep", "extensionProviders.skywalking", "extensionProviders.datadog", "extensionProviders.sds",
	"extensionProviders.opentelemetry.service", "extensionProviders.opentelemetry.port", "extensionProviders.opentelemetry.maxTagLength",
	"extensionProviders.opentelemetry.http.path", "extensionProviders.opentelemetry.http.timeout",
	"extensionProviders.opentelemetry.http.headers.name", "extensionProviders.opentelemetry.http.headers.value", "extensionProviders.opentelemetry.http.headers.envName",
	"extensionProviders.opentelemetry.grpc.timeout", "extensionProviders.opentelemetry.grpc.initialMetadata.name",
	"extensionProviders.opentelemetry.grpc.initialMetadata.value", "extensionProviders.opentelemetry.grpc.initialMetadata.envName", "extensionProviders.opentelemetry.resourceDetectors.environment",
	"extensionProviders.opentelemetry.dynatraceSampler.tenant", "extensionProviders.opentelemetry.dynatraceSampler.clusterId", "extensionProviders.opentelemetry.dynatraceSampler.rootSpansPerMinute",
	"extensionProviders.opentelemetry.dynatraceSampler.httpService.service", "extensionProviders.opentelemetry.dynatraceSampler.httpService.port",
	"extensionProviders.opentelemetry.dynatraceSampler.httpService.http.path", "extensionProviders.opentelemetry.dynatraceSampler.httpService.http.timeout",
	"extensionProviders.opentelemetry.dynatraceSampler.httpService.http.headers.name", "extensionProviders.opentelemetry.dynatraceSampler.httpService.http.headers.value",
	"extensionProviders.opentelemetry.dynatraceSampler.httpService.http.headers.envName",
	"extensionProviders.opentelemetry.resourceDetectors.dynatrace", "extensionProviders.opentelemetry.serviceAttributeEnrichment",
	"configSources.address", "enableEnvoyAccessLogService", "defaultConfig.envoyAccessLogService", "defaultConfig.envoyMetricsService", "enablePrometheusMerge", "discoverySelectors", "serviceEntryVisibility", "proxyHttpPort", "proxyListenPort", "proxyInboundListenPort",
	"extensionProviders.envoyExtAuthzHttp", "extensionProviders.envoyExtAuthzGrpc",
	// Prometheus asks the proxies by itself.
	"extensionProviders.prometheus",
}
