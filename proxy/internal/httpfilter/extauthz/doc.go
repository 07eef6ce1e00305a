// Package extauthz is the HTTP filter envoy.filters.http.ext_authz: it asks a service, by gRPC or by
// HTTP, whether a request may pass, and changes request and response as the service says.
//
//	config.go, route.go  what was configured, for a filter chain and for a route
//	filter.go            a stream: hold the request, ask, go on or refuse
//	request.go           what the service is told over gRPC
//	httpservice.go       and over HTTP, and what its answer means
//	answer.go            what an answer over gRPC means
//	apply.go             the changes that an answer asks for
//
// It opens no connection: package asyncclient asks, through the proxy's own clusters. Whatever goes
// wrong with the service is an error, which refuses the request unless failure_mode_allow is set.
// Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/ext_authz_filter
//
// An answer may be hostile, or just wrong. What would break the framing of a message or make it no
// HTTP is never applied: such an answer is invalid, with validate_mutations or without.
package extauthz
