// Package authorization turns AuthorizationPolicies into the rules of Envoy's RBAC filters, with Istio's meaning
// (https://istio.io/latest/docs/reference/config/security/authorization-policy/). It is pure. translate puts the rules into
// filters.
//
// rules.go is what others call: it sorts policies by action and makes a policy of Envoy's of each rule. attribute.go says what a source, an operation
// or a condition is matched against, and text.go how values are compared.
package authorization
