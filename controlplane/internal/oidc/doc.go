// Package oidc finds where issuers of tokens have their keys: it asks each issuer for its discovery document (OpenID Connect Discovery 1.0, section 4), as
// Istio's control plane does for a RequestAuthentication that has neither jwks nor jwksUri.
//
// A Resolver follows the issuers that it is told of. What an issuer has said stays good while it cannot be asked again: that it is away now does not move
// its keys. The keys themselves are fetched by proxies.
//
// It knows no policy and no proxy. The control plane's wiring is its one importer.
package oidc
