package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	_ "crypto/sha256" // linked in for crypto.Hash
	_ "crypto/sha512" // as above
	"math/big"
)

// kind is the type of a key, and what an algorithm wants of it.
type kind uint8

const (
	kindRSA kind = iota
	kindP256
	kindP384
	kindP521
	kindSecret
	kindEd25519
)

// algorithm is one that a token may name.
type algorithm struct {
	kind kind
	hash crypto.Hash
	pss  bool
}

// algorithms are those that Envoy takes. Each fits keys of one type only.
var algorithms = map[string]algorithm{
	"RS256": {kind: kindRSA, hash: crypto.SHA256},
	"RS384": {kind: kindRSA, hash: crypto.SHA384},
	"RS512": {kind: kindRSA, hash: crypto.SHA512},
	"PS256": {kind: kindRSA, hash: crypto.SHA256, pss: true},
	"PS384": {kind: kindRSA, hash: crypto.SHA384, pss: true},
	"PS512": {kind: kindRSA, hash: crypto.SHA512, pss: true},
	"ES256": {kind: kindP256, hash: crypto.SHA256},
	"ES384": {kind: kindP384, hash: crypto.SHA384},
	"ES512": {kind: kindP521, hash: crypto.SHA512},
	"HS256": {kind: kindSecret, hash: crypto.SHA256},
	"HS384": {kind: kindSecret, hash: crypto.SHA384},
	"HS512": {kind: kindSecret, hash: crypto.SHA512},
	"EdDSA": {kind: kindEd25519},
}

// Verify checks the signature with the keys that the token's kid and alg point to; one that fits is
// enough. A token or a key without kid fits all.
func (s *KeySet) Verify(t *Token) Status {
	if _, critical := t.Header["crit"]; critical {
		return VerificationFailed // RFC 7515, section 4.1.11: we understand no extension
	}
	alg := algorithms[t.Algorithm]
	var digest []byte
	if alg.kind != kindSecret && alg.kind != kindEd25519 {
		h := alg.hash.New()
		h.Write([]byte(t.signed))
		digest = h.Sum(nil)
	}
	candidates := false
	for i := range s.keys {
		k := &s.keys[i]
		if t.KeyID != "" && k.id != "" && k.id != t.KeyID || k.alg != "" && k.alg != t.Algorithm {
			continue
		}
		candidates = true
		if k.kind != alg.kind {
			continue
		}
		if k.kind == kindEd25519 && len(t.signature) != ed25519.SignatureSize {
			return EdDSASignatureBadSize
		}
		if k.verify(alg, t, digest) {
			return OK
		}
	}
	if candidates {
		return VerificationFailed
	}
	return NoKeyMatches
}

// verify checks a signature with a key of the algorithm's type.
func (k *key) verify(alg algorithm, t *Token, digest []byte) bool {
	switch pub := k.material.(type) {
	case *rsa.PublicKey:
		if alg.pss {
			// RFC 7518, section 3.5: the salt is as long as the hash.
			return rsa.VerifyPSS(pub, alg.hash, digest, t.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(pub, alg.hash, digest, t.signature) == nil
	case *ecdsa.PublicKey:
		size := (pub.Curve.Params().BitSize + 7) / 8
		if len(t.signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(t.signature[:size]), new(big.Int).SetBytes(t.signature[size:])
		return ecdsa.Verify(pub, digest, r, s)
	case ed25519.PublicKey:
		return ed25519.Verify(pub, []byte(t.signed), t.signature)
	case []byte:
		mac := hmac.New(alg.hash.New, pub)
		mac.Write([]byte(t.signed))
		return hmac.Equal(mac.Sum(nil), t.signature)
	}
	return false
}
