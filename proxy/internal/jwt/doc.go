// Package jwt reads JSON Web Tokens and verifies their signatures against a set of keys.
//
// Tokens come from strangers: Parse takes the compact form of RFC 7515 and nothing beside it, within
// bounds of size and depth, and refuses what could be read in two ways (a member that stands twice,
// padding, line breaks, what follows the end). Keys come from whoever issues the tokens: ParseKeys
// reads a JWK set as go-jose does, and skips single keys that cannot verify anything.
//
// The algorithm that a token names only chooses among those that a key's own type and "alg" allow,
// so that no token can have a public key taken for a shared secret, and "none" is no algorithm.
// Signatures are checked by the standard library.
//
// What went wrong is a Status, with the texts and numbers of Envoy's. The package keeps nothing, reads
// no clock and fetches nothing: who a token may come from, where it stands in a request and how keys
// are got is the business of the HTTP filter jwt_authn, the one importer.
package jwt
