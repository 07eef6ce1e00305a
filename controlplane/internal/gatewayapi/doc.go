// Package gatewayapi turns the objects of the Kubernetes Gateway API (https://gateway-api.sigs.k8s.io/reference/spec/) into Istio's
// Gateways and VirtualServices, from which the rest of the control plane goes on, and says in their status what became of them.
//
//	who serves a Gateway, and its listeners          (gateway.go, listener.go, certificate.go, clientcertificate.go)
//	which listeners and Services a route is bound to (attach.go)
//	rules, filters, backends                         (http.go, filter.go, grpc.go, l4.go, backend.go)
//	the order among routes of one host               (precedence.go)
//	conditions                                       (status.go)
//
// API.Convert is a pure function of a set of objects; package derived keeps the set and the last result. It knows neither model nor Envoy, writes
// nothing, and opens nothing. Package controlplane imports it.
package gatewayapi
