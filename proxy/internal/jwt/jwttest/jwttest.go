// Package jwttest makes keys and tokens for tests: good ones, and such as no library would sign.
//
// It holds no test and is no part of the proxy; only tests may import it.
package jwttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash
	_ "crypto/sha512" // as above
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Keys is a key of each type. Their ids are "rsa", "p256", "p384", "p521", "ed" and "secret".
type Keys struct {
	RSA              *rsa.PrivateKey
	P256, P384, P521 *ecdsa.PrivateKey
	Ed               ed25519.PrivateKey
	Secret           []byte
}

// New makes keys.
func New(t testing.TB) *Keys {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	k := &Keys{Secret: make([]byte, 64)}
	var err error
	k.RSA, err = rsa.GenerateKey(rand.Reader, 1536) // quick to make, and large enough for PS512
	must(err)
	k.P256, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	k.P384, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(err)
	k.P521, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	must(err)
	_, k.Ed, err = ed25519.GenerateKey(rand.Reader)
	must(err)
	_, err = rand.Read(k.Secret)
	must(err)
	return k
}

// IDs are the names of the keys, in the order of a set.
func IDs() []string { return []string{"rsa", "p256", "p384", "p521", "ed", "secret"} }

// Algorithms are all that there are, with the id of a key for each.
func Algorithms() map[string]string {
	return map[string]string{
		"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
		"ES256": "p256", "ES384": "p384", "ES512": "p521",
		"HS256": "secret", "HS384": "secret", "HS512": "secret", "EdDSA": "ed",
	}
}

// JWK is the public form of a key, the secret's being itself.
func (k *Keys) JWK(id string) jose.JSONWebKey {
	m := map[string]any{
		"rsa": &k.RSA.PublicKey, "p256": &k.P256.PublicKey, "p384": &k.P384.PublicKey, "p521": &k.P521.PublicKey,
		"ed": k.Ed.Public().(ed25519.PublicKey), "secret": k.Secret,
	}
	return jose.JSONWebKey{KeyID: id, Key: m[id]}
}

// Set is a JWK set of the keys with these ids; none: of all.
func (k *Keys) Set(ids ...string) string {
	if len(ids) == 0 {
		ids = IDs()
	}
	s := jose.JSONWebKeySet{}
	for _, id := range ids {
		s.Keys = append(s.Keys, k.JWK(id))
	}
	raw, err := json.Marshal(s)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return string(raw)
}

// Sign makes a token with the algorithm's key and its id. claims is the payload, in JSON.
func (k *Keys) Sign(alg, claims string) string {
	return k.SignRaw(alg, Algorithms()[alg], `{"alg":"`+alg+`","kid":"`+Algorithms()[alg]+`"}`, claims)
}

// SignRaw makes a token of any header and payload, signed by an algorithm with a key, whatever the
// header says.
func (k *Keys) SignRaw(alg, key, header, payload string) string {
	signed := Encode(header) + "." + Encode(payload)
	return signed + "." + Encode(string(k.signature(alg, key, signed)))
}

// Encode is base64url.
func Encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func (k *Keys) signature(alg, id, signed string) []byte {
	hash := crypto.SHA256
	switch {
	case strings.HasSuffix(alg, "384"):
		hash = crypto.SHA384
	case strings.HasSuffix(alg, "512"):
		hash = crypto.SHA512
	}
	h := hash.New()
	h.Write([]byte(signed))
	var out []byte
	var err error
	switch alg[:2] {
	case "RS":
		out, err = rsa.SignPKCS1v15(rand.Reader, k.RSA, hash, h.Sum(nil))
	case "PS":
		out, err = rsa.SignPSS(rand.Reader, k.RSA, hash, h.Sum(nil), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "ES":
		key := map[string]*ecdsa.PrivateKey{"p256": k.P256, "p384": k.P384, "p521": k.P521}[id]
		size := (key.Curve.Params().BitSize + 7) / 8
		r, s, e := ecdsa.Sign(rand.Reader, key, h.Sum(nil))
		if err = e; err == nil {
			out = make([]byte, 2*size)
			r.FillBytes(out[:size])
			s.FillBytes(out[size:])
		}
	case "HS":
		secret := k.Secret
		if id == "rsa" { // the confusion of a public key with a secret
			secret = k.RSA.N.Bytes()
		}
		mac := hmac.New(hash.New, secret)
		mac.Write([]byte(signed))
		out = mac.Sum(nil)
	default:
		out = ed25519.Sign(k.Ed, []byte(signed))
	}
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return out
}
