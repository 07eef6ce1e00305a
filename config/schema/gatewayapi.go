package schema

import (
	"encoding/json"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// GatewayAPIGroup is the group of the Kubernetes Gateway API (https://gateway-api.sigs.k8s.io).
const GatewayAPIGroup = "gateway.networking.k8s.io"

// The kinds of the Gateway API. Names are prefixed where Istio has a kind of the same name. Columns as in its CustomResourceDefinitions.
var (
	K8sGatewayClass = &Kind{
		Group: GatewayAPIGroup, Versions: []string{"v1", "v1beta1"}, Name: "GatewayClass",
		Plural: "gatewayclasses", Singular: "gatewayclass", ShortNames: []string{"gc"}, HasSpec: true,
		Columns: []Column{
			{Name: "CONTROLLER", Value: func(s any) string { return string(s.(*gatewayv1.GatewayClassSpec).ControllerName) }},
			{Name: "ACCEPTED", Status: condition("Accepted")},
			{Name: "AGE"},
			{Name: "DESCRIPTION", Wide: true, Value: func(s any) string {
				if d := s.(*gatewayv1.GatewayClassSpec).Description; d != nil {
					return *d
				}
				return ""
			}},
		},
		New: func() any { return new(gatewayv1.GatewayClassSpec) },
	}
	K8sGateway = &Kind{
		Group: GatewayAPIGroup, Versions: []string{"v1", "v1beta1"}, Name: "Gateway",
		Plural: "gateways", Singular: "gateway", ShortNames: []string{"gtw"}, Namespaced: true, HasSpec: true,
		Columns: []Column{
			{Name: "CLASS", Value: func(s any) string { return string(s.(*gatewayv1.GatewaySpec).GatewayClassName) }},
			{Name: "ADDRESS", Status: func(raw json.RawMessage) string {
				var st gatewayv1.GatewayStatus
				if json.Unmarshal(raw, &st) != nil || len(st.Addresses) == 0 {
					return ""
				}
				return st.Addresses[0].Value
			}},
			{Name: "PROGRAMMED", Status: condition("Programmed")},
			{Name: "AGE"},
		},
		New: func() any { return new(gatewayv1.GatewaySpec) },
	}
	HTTPRoute = &Kind{
		Group: GatewayAPIGroup, Versions: []string{"v1", "v1beta1"}, Name: "HTTPRoute",
		Plural: "httproutes", Singular: "httproute", Namespaced: true, HasSpec: true,
		Columns: hostnameColumns(func(s any) []gatewayv1.Hostname { return s.(*gatewayv1.HTTPRouteSpec).Hostnames }),
		New:     func() any { return new(gatewayv1.HTTPRouteSpec) },
	}
	GRPCRoute = &Kind{
		Group: GatewayAPIGroup, Versions: []string{"v1"}, Name: "GRPCRoute",
		Plural: "grpcroutes", Singular: "grpcroute", Namespaced: true, HasSpec: true,
		Columns: hostnameColumns(func(s any) []gatewayv1.Hostname { return s.(*gatewayv1.GRPCRouteSpec).Hostnames }),
		New:     func() any { return new(gatewayv1.GRPCRouteSpec) },
	}
	TLSRoute = &Kind{
		Group: GatewayAPIGroup, Versions: []string{"v1", "v1alpha3", "v1alpha2"}, Name: "TLSRoute",
		Plural: "tlsroutes", Singular: "tlsroute", Namespaced: true, HasSpec: true,
		Columns: hostnameColumns(func(s any) []gatewayv1.Hostname { return s.(*gatewayv1.TLSRouteSpec).Hostnames }),
		New:     func() any { return new(gatewayv1.TLSRouteSpec) },
	}
	TCPRoute = &Kind{
		Group: GatewayAPIGroup, Versions: []string{"v1", "v1alpha2"}, Name: "TCPRoute",
		Plural: "tcproutes", Singular: "tcproute", Namespaced: true, HasSpec: true,
		New: func() any { return new(gatewayv1.TCPRouteSpec) },
	}
	ReferenceGrant = &Kind{
		Group: GatewayAPIGroup, Versions: []string{"v1", "v1beta1"}, Name: "ReferenceGrant",
		Plural: "referencegrants", Singular: "referencegrant", ShortNames: []string{"refgrant"}, Namespaced: true, HasSpec: true,
		New: func() any { return new(gatewayv1.ReferenceGrantSpec) },
	}
)

// GatewayAPI reports whether the kind is one of the Gateway API.
func (k *Kind) GatewayAPI() bool { return k.Group == GatewayAPIGroup }

// condition renders the status of one of the object's conditions.
func condition(typ string) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		var st struct {
			Conditions []struct{ Type, Status string } `json:"conditions"`
		}
		if json.Unmarshal(raw, &st) != nil {
			return "Unknown"
		}
		for _, c := range st.Conditions {
			if c.Type == typ {
				return c.Status
			}
		}
		return "Unknown"
	}
}

func hostnameColumns(of func(spec any) []gatewayv1.Hostname) []Column {
	return []Column{
		{Name: "HOSTNAMES", Value: func(s any) string {
			var words []string
			for _, h := range of(s) {
				words = append(words, string(h))
			}
			return jsonArray(words)
		}},
		{Name: "AGE"},
	}
}

// gatewayAPINames lists the kinds of the Gateway API that there are.
func gatewayAPINames() string {
	var names []string
	for _, k := range all {
		if k.GatewayAPI() {
			names = append(names, k.Name)
		}
	}
	return strings.Join(names, ", ")
}
