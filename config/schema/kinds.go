package schema

import (
	extensions "istio.io/api/extensions/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1beta1 "istio.io/api/networking/v1beta1"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// The groups of Istio's kinds.
const (
	NetworkingGroup = "networking.istio.io"
	SecurityGroup   = "security.istio.io"
	TelemetryGroup  = "telemetry.istio.io"
	ExtensionsGroup = "extensions.istio.io"
	InstallGroup    = "install.istio.io"
)

// Istio's networking kinds. Columns as in Istio's CustomResourceDefinitions.
var (
	Gateway = &Kind{
		Group: NetworkingGroup, Versions: []string{"v1", "v1beta1", "v1alpha3"}, Name: "Gateway",
		Plural: "gateways", Singular: "gateway", ShortNames: []string{"gw"}, Namespaced: true, HasSpec: true,
		New: func() any { return new(networking.Gateway) },
	}
	VirtualService = &Kind{
		Group: NetworkingGroup, Versions: []string{"v1", "v1beta1", "v1alpha3"}, Name: "VirtualService",
		Plural: "virtualservices", Singular: "virtualservice", ShortNames: []string{"vs"}, Namespaced: true, HasSpec: true,
		Columns: []Column{
			{Name: "GATEWAYS", Value: func(s any) string { return jsonArray(s.(*networking.VirtualService).Gateways) }},
			{Name: "HOSTS", Value: func(s any) string { return jsonArray(s.(*networking.VirtualService).Hosts) }},
			{Name: "AGE"},
		},
		New: func() any { return new(networking.VirtualService) },
	}
	DestinationRule = &Kind{
		Group: NetworkingGroup, Versions: []string{"v1", "v1beta1", "v1alpha3"}, Name: "DestinationRule",
		Plural: "destinationrules", Singular: "destinationrule", ShortNames: []string{"dr"}, Namespaced: true, HasSpec: true,
		Columns: []Column{
			{Name: "HOST", Value: func(s any) string { return s.(*networking.DestinationRule).Host }},
			{Name: "AGE"},
		},
		New: func() any { return new(networking.DestinationRule) },
	}
	ServiceEntry = &Kind{
		Group: NetworkingGroup, Versions: []string{"v1", "v1beta1", "v1alpha3"}, Name: "ServiceEntry",
		Plural: "serviceentries", Singular: "serviceentry", ShortNames: []string{"se"}, Namespaced: true, HasSpec: true,
		Columns: []Column{
			{Name: "HOSTS", Value: func(s any) string { return jsonArray(s.(*networking.ServiceEntry).Hosts) }},
			{Name: "LOCATION", Value: func(s any) string { return s.(*networking.ServiceEntry).Location.String() }},
			{Name: "RESOLUTION", Value: func(s any) string { return s.(*networking.ServiceEntry).Resolution.String() }},
			{Name: "AGE"},
		},
		New: func() any { return new(networking.ServiceEntry) },
	}
	WorkloadEntry = &Kind{
		Group: NetworkingGroup, Versions: []string{"v1", "v1beta1", "v1alpha3"}, Name: "WorkloadEntry",
		Plural: "workloadentries", Singular: "workloadentry", ShortNames: []string{"we"}, Namespaced: true, HasSpec: true,
		Columns: []Column{
			{Name: "AGE"},
			{Name: "ADDRESS", Value: func(s any) string { return s.(*networking.WorkloadEntry).Address }},
		},
		New: func() any { return new(networking.WorkloadEntry) },
	}
	WorkloadGroup = &Kind{
		Group: NetworkingGroup, Versions: []string{"v1", "v1beta1", "v1alpha3"}, Name: "WorkloadGroup",
		Plural: "workloadgroups", Singular: "workloadgroup", ShortNames: []string{"wg"}, Namespaced: true, HasSpec: true,
		New: func() any { return new(networking.WorkloadGroup) },
	}
	Sidecar = &Kind{
		Group: NetworkingGroup, Versions: []string{"v1", "v1beta1", "v1alpha3"}, Name: "Sidecar",
		Plural: "sidecars", Singular: "sidecar", Namespaced: true, HasSpec: true,
		New: func() any { return new(networking.Sidecar) },
	}
	EnvoyFilter = &Kind{
		Group: NetworkingGroup, Versions: []string{"v1alpha3"}, Name: "EnvoyFilter",
		Plural: "envoyfilters", Singular: "envoyfilter", Namespaced: true, HasSpec: true,
		New: func() any { return new(networking.EnvoyFilter) },
	}
	ProxyConfig = &Kind{
		Group: NetworkingGroup, Versions: []string{"v1beta1"}, Name: "ProxyConfig",
		Plural: "proxyconfigs", Singular: "proxyconfig", Namespaced: true, HasSpec: true,
		New: func() any { return new(networkingv1beta1.ProxyConfig) },
	}
)

// Istio's security, telemetry, extension and install kinds.
var (
	PeerAuthentication = &Kind{
		Group: SecurityGroup, Versions: []string{"v1", "v1beta1"}, Name: "PeerAuthentication",
		Plural: "peerauthentications", Singular: "peerauthentication", ShortNames: []string{"pa"}, Namespaced: true, HasSpec: true,
		Columns: []Column{
			{Name: "MODE", Value: func(s any) string {
				if m := s.(*security.PeerAuthentication).Mtls; m != nil {
					return m.Mode.String()
				}
				return ""
			}},
			{Name: "AGE"},
		},
		New: func() any { return new(security.PeerAuthentication) },
	}
	AuthorizationPolicy = &Kind{
		Group: SecurityGroup, Versions: []string{"v1", "v1beta1"}, Name: "AuthorizationPolicy",
		Plural: "authorizationpolicies", Singular: "authorizationpolicy", ShortNames: []string{"ap"}, Namespaced: true, HasSpec: true,
		Columns: []Column{
			{Name: "ACTION", Value: func(s any) string { return s.(*security.AuthorizationPolicy).Action.String() }},
			{Name: "AGE"},
		},
		New: func() any { return new(security.AuthorizationPolicy) },
	}
	RequestAuthentication = &Kind{
		Group: SecurityGroup, Versions: []string{"v1", "v1beta1"}, Name: "RequestAuthentication",
		Plural: "requestauthentications", Singular: "requestauthentication", ShortNames: []string{"ra"}, Namespaced: true, HasSpec: true,
		New: func() any { return new(security.RequestAuthentication) },
	}
	Telemetry = &Kind{
		Group: TelemetryGroup, Versions: []string{"v1", "v1alpha1"}, Name: "Telemetry",
		Plural: "telemetries", Singular: "telemetry", Namespaced: true, HasSpec: true,
		New: func() any { return new(telemetry.Telemetry) },
	}
	WasmPlugin = &Kind{
		Group: ExtensionsGroup, Versions: []string{"v1alpha1"}, Name: "WasmPlugin",
		Plural: "wasmplugins", Singular: "wasmplugin", Namespaced: true, HasSpec: true,
		New: func() any { return new(extensions.WasmPlugin) },
	}
	TrafficExtension = &Kind{
		Group: ExtensionsGroup, Versions: []string{"v1alpha1"}, Name: "TrafficExtension",
		Plural: "trafficextensions", Singular: "trafficextension", Namespaced: true, HasSpec: true,
		New: func() any { return new(extensions.TrafficExtension) },
	}
	IstioOperator = &Kind{
		Group: InstallGroup, Versions: []string{"v1alpha1"}, Name: "IstioOperator",
		Plural: "istiooperators", Singular: "istiooperator", ShortNames: []string{"iop", "io"}, Namespaced: true, HasSpec: true,
		Columns: []Column{
			{Name: "REVISION", Value: func(s any) string { return s.(*IstioOperatorSpec).Revision }},
			// The state that an operator would report; nothing reconciles the object here.
			{Name: "STATUS", Value: func(any) string { return "" }},
			{Name: "AGE"},
		},
		New: func() any { return new(IstioOperatorSpec) },
	}
)

// The core Kubernetes kinds that describe services and identities.
var (
	Service = &Kind{
		Versions: []string{"v1"}, Name: "Service",
		Plural: "services", Singular: "service", ShortNames: []string{"svc"}, Namespaced: true,
		Columns: serviceColumns,
		New:     func() any { return new(corev1.Service) },
	}
	ServiceAccount = &Kind{
		Versions: []string{"v1"}, Name: "ServiceAccount",
		Plural: "serviceaccounts", Singular: "serviceaccount", ShortNames: []string{"sa"}, Namespaced: true,
		Columns: []Column{
			{Name: "SECRETS", Value: func(s any) string { return itoa(len(s.(*corev1.ServiceAccount).Secrets)) }},
			{Name: "AGE"},
		},
		New: func() any { return new(corev1.ServiceAccount) },
	}
	Secret = &Kind{
		Versions: []string{"v1"}, Name: "Secret",
		Plural: "secrets", Singular: "secret", Namespaced: true,
		Columns: []Column{
			{Name: "TYPE", Value: func(s any) string {
				if t := s.(*corev1.Secret).Type; t != "" {
					return string(t)
				}
				return string(corev1.SecretTypeOpaque)
			}},
			{Name: "DATA", Value: func(s any) string { return itoa(secretEntries(s.(*corev1.Secret))) }},
			{Name: "AGE"},
		},
		New: func() any { return new(corev1.Secret) },
	}
	ConfigMap = &Kind{
		Versions: []string{"v1"}, Name: "ConfigMap",
		Plural: "configmaps", Singular: "configmap", ShortNames: []string{"cm"}, Namespaced: true,
		Columns: []Column{
			{Name: "DATA", Value: func(s any) string {
				return itoa(len(s.(*corev1.ConfigMap).Data) + len(s.(*corev1.ConfigMap).BinaryData))
			}},
			{Name: "AGE"},
		},
		New: func() any { return new(corev1.ConfigMap) },
	}
	Namespace = &Kind{
		Versions: []string{"v1"}, Name: "Namespace",
		Plural: "namespaces", Singular: "namespace", ShortNames: []string{"ns"},
		Columns: []Column{
			{Name: "STATUS", Value: func(any) string { return "Active" }},
			{Name: "AGE"},
		},
		New: func() any { return new(corev1.Namespace) },
	}
)

// Deployment says what runs. On Kubernetes that is Kubernetes' business; without it `lateen up` runs those of its folder.
var Deployment = &Kind{
	Group: "apps", Versions: []string{"v1"}, Name: "Deployment",
	Plural: "deployments", Singular: "deployment", ShortNames: []string{"deploy"}, Namespaced: true, HasSpec: true,
	Columns: deploymentColumns,
	New:     func() any { return new(appsv1.DeploymentSpec) },
}

// all is in the order in which `lateen get all` prints and in which an ambiguous name is
// resolved.
var all = []*Kind{
	Namespace, Service, ServiceAccount, Secret, ConfigMap, Deployment,
	Gateway, VirtualService, DestinationRule, ServiceEntry, WorkloadEntry, WorkloadGroup, Sidecar, EnvoyFilter, ProxyConfig,
	PeerAuthentication, AuthorizationPolicy, RequestAuthentication, Telemetry, WasmPlugin, TrafficExtension, IstioOperator,
	K8sGatewayClass, K8sGateway, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, ReferenceGrant,
	IngressClass, Ingress,
}

// All returns every kind, in a fixed order. The slice must not be modified.
func All() []*Kind { return all }
