// Package jwtauthn is the HTTP filter envoy.filters.http.jwt_authn: it verifies the JSON Web Tokens
// of requests and answers 401 or 403 where one is missing, or not good.
//
// In the order of a request: filter.go finds the requirement that applies, evaluate.go evaluates its
// tree (requirement.go), locations.go finds the tokens, verify.go judges one after the other with the
// provider's rules and keys, claims.go hands their content on in headers and dynamic metadata, which
// RBAC and the routes read. Signatures are package jwt's business. A token is verified once by each
// worker: cache.go remembers it until it expires or the keys change.
//
// Keys are local, or fetched from a server through the proxy's own clusters: source.go keeps those of
// one server for all workers, fetches them when a request needs them and, with async_fetch, ahead of
// it; the request waits, its worker does not. A Store keeps the sources over changes of listeners.
//
// It does not know who may do what (RBAC does), and starts no sessions (OAuth2). Only server
// imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/jwt_authn_filter
package jwtauthn
