// Package envoypatch reads the values of EnvoyFilter's patches: what a user writes as YAML becomes the Envoy message that applyTo names.
//
// types.go links in the extensions that a value may hold as typed_config. It does not apply patches (the control plane does). Package
// config's validation and the control plane import it, so that what is accepted is what is served.
package envoypatch
