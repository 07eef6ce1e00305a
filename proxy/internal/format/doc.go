// Package format compiles Envoy's format strings ("[%START_TIME%] %REQ(:METHOD)% ...") once
// and prints them for every request without parsing or allocating.
//
// Access logs, header values and local replies use it. An operator that it does not know is
// refused by name when the string is compiled, never printed as it stands.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
//
// All operators of Envoy 1.40 are known.
//
// It decides nothing about when or where something is logged. Any package of the path may
// import it.
package format
