package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Bounds of a set. A token without kid is tried with every key of its type, so their number bounds
// what such a token can cost.
const (
	MaxKeySetSize = 256 << 10 // bytes; it is read on a worker, in a few milliseconds at most
	maxKeys       = 100
	maxRSABits    = 8192 // as in TLS; beyond it a single check takes milliseconds
)

// KeySet is an immutable set of keys that verify signatures.
type KeySet struct{ keys []key }

type key struct {
	id, alg  string // "": any that fits
	kind     kind
	material any // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, []byte
}

// Len is the number of keys.
func (s *KeySet) Len() int { return len(s.keys) }

// ParseKeys reads a JWK set (RFC 7517), or the other form that issuers publish: a JSON object of
// certificates in PEM by key id. Keys of no use are skipped, as long as one remains; the error says
// of the first what is wrong with it.
func ParseKeys(raw []byte) (*KeySet, error) {
	if len(raw) > MaxKeySetSize {
		return nil, fmt.Errorf("a key set of %d bytes is larger than the limit of %d", len(raw), MaxKeySetSize)
	}
	if _, err := parseObject(raw); err != nil {
		return nil, fmt.Errorf("a key set must be a JSON object: %w", err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	list, ok := members["keys"]
	if !ok {
		return parseCertificates(members)
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(list, &elements); err != nil {
		return nil, errors.New(`"keys" of a key set must be a list`)
	}
	if len(elements) > maxKeys {
		return nil, fmt.Errorf("a set of %d keys is larger than the limit of %d", len(elements), maxKeys)
	}
	s := &KeySet{}
	var first error
	for i, e := range elements {
		k, err := parseKey(e)
		switch {
		case err == nil:
			s.keys = append(s.keys, k)
		case first == nil:
			first = fmt.Errorf("keys[%d]: %w", i, err)
		}
	}
	switch {
	case len(s.keys) > 0:
		return s, nil
	case first == nil:
		return nil, errors.New("the key set is empty")
	}
	return nil, fmt.Errorf("the key set has no key that could verify a token: %w", first)
}

// needed are the members of a key that verification needs. The others are left aside: private parts
// have no business in our memory, and certificates none in judging a key that a trusted issuer names.
var needed = []string{"kty", "kid", "alg", "use", "crv", "n", "e", "x", "y", "k"}

func parseKey(raw json.RawMessage) (key, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return key{}, errors.New("must be an object")
	}
	wanted := map[string]json.RawMessage{}
	for _, name := range needed {
		if v, ok := all[name]; ok {
			wanted[name] = v
		}
	}
	text, err := json.Marshal(wanted)
	if err != nil {
		return key{}, err
	}
	var j jose.JSONWebKey
	if err := j.UnmarshalJSON(text); err != nil {
		return key{}, err
	}
	if j.Use != "" && j.Use != "sig" {
		return key{}, fmt.Errorf("is for %q, not for signatures", j.Use)
	}
	return newKey(j.KeyID, j.Algorithm, j.Key)
}

// newKey judges a key; alg must be one of its type's, or empty.
func newKey(id, alg string, material any) (key, error) {
	k := key{id: id, alg: alg, material: material}
	switch p := material.(type) {
	case *rsa.PublicKey:
		k.kind = kindRSA
		if n := p.N.BitLen(); n < 1024 || n > maxRSABits {
			return k, fmt.Errorf("an RSA key of %d bits is not between 1024 and %d", n, maxRSABits)
		}
		if p.E != 3 && p.E != 65537 {
			return k, fmt.Errorf("an RSA exponent of %d is neither 3 nor 65537", p.E)
		}
	case *ecdsa.PublicKey:
		switch p.Curve {
		case elliptic.P256():
			k.kind = kindP256
		case elliptic.P384():
			k.kind = kindP384
		case elliptic.P521():
			k.kind = kindP521
		default:
			return k, fmt.Errorf("curve %s is not supported", p.Curve.Params().Name)
		}
	case ed25519.PublicKey:
		k.kind = kindEd25519
		if len(p) != ed25519.PublicKeySize {
			return k, fmt.Errorf("an Ed25519 key of %d bytes", len(p))
		}
	case []byte:
		k.kind = kindSecret
		if len(p) == 0 {
			return k, errors.New("a secret must not be empty")
		}
	default:
		return k, fmt.Errorf("a key of type %T is not supported", material)
	}
	if a, ok := algorithms[alg]; alg != "" && (!ok || a.kind != k.kind) {
		return k, fmt.Errorf("alg %q is none for a key of this type", alg)
	}
	return k, nil
}

// certificatePrefix and certificateSuffix mark the values of a set of certificates.
const (
	certificatePrefix = "-----BEGIN CERTIFICATE-----\n"
	certificateSuffix = "\n-----END CERTIFICATE-----\n"
)

func parseCertificates(members map[string]json.RawMessage) (*KeySet, error) {
	s := &KeySet{}
	if len(members) == 0 || len(members) > maxKeys {
		return nil, errors.New(`a key set needs the member "keys"`)
	}
	for _, id := range slices.Sorted(maps.Keys(members)) {
		var text string
		if err := json.Unmarshal(members[id], &text); err != nil || id == "" ||
			!strings.HasPrefix(text, certificatePrefix) || !strings.HasSuffix(text, certificateSuffix) {
			return nil, errors.New(`a key set needs the member "keys", or must hold nothing but certificates by key id`)
		}
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil, fmt.Errorf("certificate %q: not in PEM", id)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %q: %w", id, err)
		}
		pub, ok := cert.PublicKey.(*rsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("certificate %q: has no RSA key", id)
		}
		k, err := newKey(id, "", pub)
		if err != nil {
			return nil, fmt.Errorf("certificate %q: %w", id, err)
		}
		s.keys = append(s.keys, k)
	}
	return s, nil
}
