// Package runtimekey holds Envoy's runtime: values that an operator changes while the proxy runs, by
// name, in layers that lie over one another (static, files, RTDS, admin API).
//
// Whoever reads a configuration that names a key asks a Registry for its Key, once. On the request path
// a Key that no layer names costs the load of a nil pointer, and a configuration without keys a nil
// Key: no map and no lock. A value changes by one atomic store for each key; keys are read one by one,
// so nobody can see two of them at odds.
//
// The package reads no protos and no streams: server brings what they say, as Layers of values.
// xdsresource puts Keys into configurations, and what decides by one imports the package.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/operations/runtime
package runtimekey
