package decision

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Token is a JSON Web Token made for the table, which rows show as $(NAME.token).
type Token struct {
	Name   string         `json:"name"`
	Key    string         `json:"key"`    // who signs: objects have the keys as $(KEY.jwks)
	Claims map[string]any `json:"claims"` // besides exp, an hour from now; null takes one out
	// Payload stands instead of the claims, as it is.
	Payload string         `json:"payload"`
	Header  map[string]any `json:"header"` // besides typ, alg and kid; null takes one out
	// Signed is how it is signed, whatever the header says: "ES256" (default); "RS256", with a key that the set has as KEY-rsa; "PEM" and "JWK", which are HS256 with that
	// key's public half, in one of these forms, as the secret; "nothing", which leaves the signature away.
	Signed  string    `json:"signed"`
	Expires *Duration `json:"expires"` // from now
	Begins  *Duration `json:"begins"`  // likewise, its nbf
	Large   int       `json:"large"`   // bytes of a claim that makes it as large
	Expired bool      `json:"expired"` // since an hour
	Forged  bool      `json:"forged"`  // signed with another key of the same name
	// Open: the keys of its signer do not say for which algorithm they are.
	Open bool `json:"open"`
}

// signer is who signs tokens: a key of either type.
type signer struct {
	ec   *ecdsa.PrivateKey
	rsa  *rsa.PrivateKey
	open bool
}

func newSigner() (*signer, error) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	return &signer{ec: ec, rsa: r}, err
}

// signers are those of a table, by name, and the tokens that they have signed.
type signers struct {
	keys   map[string]*signer
	tokens map[string]string
}

func newSigners(list []Token) (*signers, error) {
	s := &signers{keys: map[string]*signer{}, tokens: map[string]string{}}
	for _, t := range list {
		if err := s.sign(t); err != nil {
			return nil, fmt.Errorf("token %q: %w", t.Name, err)
		}
	}
	return s, nil
}

func (s *signers) sign(t Token) error {
	key := s.keys[t.Key]
	if key == nil || t.Forged {
		var err error
		if key, err = newSigner(); err != nil {
			return err
		}
	}
	if !t.Forged {
		s.keys[t.Key] = key
		key.open = key.open || t.Open
	}
	alg, kid := t.Signed, t.Key
	switch t.Signed {
	case "", "nothing":
		alg = "ES256"
	case "RS256":
		kid += "-rsa"
	case "PEM", "JWK":
		alg, kid = "HS256", kid+"-rsa"
	}
	header, err := with(map[string]any{"typ": "JWT", "alg": alg, "kid": kid}, t.Header)
	if err != nil {
		return err
	}
	payload, err := t.payload()
	if err != nil {
		return err
	}
	text := encoded(header) + "." + encoded(payload)
	signature, err := key.sign(t.Signed, text)
	s.tokens[t.Name] = text + "." + encoded(signature)
	return err
}

// payload is what the token says.
func (t *Token) payload() ([]byte, error) {
	if t.Payload != "" {
		return []byte(t.Payload), nil
	}
	now := time.Now()
	claims := map[string]any{"exp": now.Add(time.Hour).Unix()}
	if t.Expired {
		claims["exp"] = now.Add(-time.Hour).Unix()
	}
	if t.Expires != nil {
		claims["exp"] = now.Add(time.Duration(*t.Expires)).Unix()
	}
	if t.Begins != nil {
		claims["nbf"] = now.Add(time.Duration(*t.Begins)).Unix()
	}
	if t.Large > 0 {
		claims["large"] = strings.Repeat("x", t.Large)
	}
	return with(claims, t.Claims)
}

// with is a JSON object with more members, or fewer.
func with(object, more map[string]any) ([]byte, error) {
	maps.Copy(object, more)
	maps.DeleteFunc(object, func(_ string, v any) bool { return v == nil })
	return json.Marshal(object)
}

func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign signs text in one of the ways of Token.Signed.
func (k *signer) sign(how, text string) ([]byte, error) {
	digest := sha256.Sum256([]byte(text))
	switch how {
	case "":
		r, s, err := ecdsa.Sign(rand.Reader, k.ec, digest[:])
		if err != nil {
			return nil, err
		}
		out := make([]byte, 64)
		r.FillBytes(out[:32])
		s.FillBytes(out[32:])
		return out, nil
	case "RS256":
		return rsa.SignPKCS1v15(rand.Reader, k.rsa, crypto.SHA256, digest[:])
	case "PEM", "JWK":
		secret, err := k.public(how)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		return mac.Sum(nil), err
	case "nothing":
		return nil, nil
	}
	return nil, fmt.Errorf("signed: %q is none of ES256, RS256, PEM, JWK and nothing", how)
}

// public is the public half of the key of RSA.
func (k *signer) public(form string) ([]byte, error) {
	if form == "JWK" {
		return jose.JSONWebKey{Key: k.rsa.Public()}.MarshalJSON()
	}
	der, err := x509.MarshalPKIXPublicKey(k.rsa.Public())
	return encode("PUBLIC KEY", der), err
}

// jwks are a signer's public keys as its server has them.
func (s *signers) jwks(name string) (string, error) {
	key := s.keys[name]
	if key == nil {
		return "", fmt.Errorf("no token is signed by %q", name)
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: key.ec.Public(), KeyID: name, Algorithm: string(jose.ES256), Use: "sig"},
		{Key: key.rsa.Public(), KeyID: name + "-rsa", Algorithm: string(jose.RS256), Use: "sig"},
	}}
	if key.open {
		for i := range set.Keys {
			set.Keys[i].Algorithm = ""
		}
	}
	raw, err := json.Marshal(set)
	return string(raw), err
}

func (s *signers) token(name string) (string, error) {
	t, ok := s.tokens[name]
	if !ok {
		return "", fmt.Errorf("there is no token %q in the head", name)
	}
	return t, nil
}
