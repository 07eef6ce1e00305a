// Package jointoken makes and checks the tokens with which a workload without a certificate proves who it is to the certificate authority.
//
// A token is a JWT (RFC 7519) signed with HMAC-SHA-256, with the claims of a Kubernetes service account token where they mean the same:
// subject system:serviceaccount:NAMESPACE:NAME, audience istio-ca. Whoever holds the key can become any workload, so the key's file
// is for its owner's eyes only.
//
// The certificate authority verifies, whoever starts workloads mints; both import this package, and so may anything else. It keeps no state.
package jointoken

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

const (
	// Issuer is the claim "iss".
	Issuer = "lateen"
	// Audience is the claim "aud", Istio's.
	Audience = "istio-ca"
	// KeyFile is the key's file name in the certificate authority's folder.
	KeyFile = "join-key"
	// leeway is what the clocks of two hosts may differ by.
	leeway = time.Minute
	// minKey is the shortest key: "A key of the same size as the hash output or larger MUST be used" (RFC 7518, section 3.2).
	minKey = 32
)

// Mint returns a token for a service account that is good until now+ttl.
func Mint(key []byte, namespace, serviceAccount string, now time.Time, ttl time.Duration) (string, error) {
	id := spiffe.ID{TrustDomain: spiffe.DefaultTrustDomain, Namespace: namespace, ServiceAccount: serviceAccount}
	if err := id.Validate(); err != nil {
		return "", fmt.Errorf("join token: %w", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("join token: %w", err)
	}
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer:   Issuer,
		Subject:  "system:serviceaccount:" + namespace + ":" + serviceAccount,
		Audience: jwt.Audience{Audience},
		IssuedAt: jwt.NewNumericDate(now),
		Expiry:   jwt.NewNumericDate(now.Add(ttl)),
	}).Serialize()
}

// Verify returns the identity that a token proves, in the given trust domain. Any error means that the bearer is nobody; its text says
// why and holds nothing of the token.
func Verify(key []byte, token, trustDomain string, now time.Time) (spiffe.ID, error) {
	// Only the one algorithm: a token must not choose how it is checked (RFC 8725, section 3.1).
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		return spiffe.ID{}, errors.New("join token is not a JWT signed with HS256")
	}
	var claims jwt.Claims
	if err := parsed.Claims(key, &claims); err != nil {
		return spiffe.ID{}, errors.New("join token's signature does not fit this mesh's join key")
	}
	if claims.Expiry == nil {
		return spiffe.ID{}, errors.New("join token never expires (no claim exp), which is refused")
	}
	err = claims.ValidateWithLeeway(jwt.Expected{Issuer: Issuer, AnyAudience: jwt.Audience{Audience}, Time: now}, leeway)
	if err != nil {
		return spiffe.ID{}, fmt.Errorf("join token: %w", err)
	}
	id, err := spiffe.ParseServiceAccount(claims.Subject, trustDomain)
	if err != nil {
		return spiffe.ID{}, fmt.Errorf("join token: %w", err)
	}
	return id, nil
}

// Bearer returns whose token it is, by its own word: nothing is checked. It is for who holds the token and wants to know what to ask for with it.
func Bearer(token string) (spiffe.ID, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		return spiffe.ID{}, errors.New("join token is not a JWT signed with HS256")
	}
	var claims jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return spiffe.ID{}, errors.New("join token has no claims")
	}
	id, err := spiffe.ParseServiceAccount(claims.Subject, spiffe.DefaultTrustDomain)
	if err != nil {
		return spiffe.ID{}, fmt.Errorf("join token: %w", err)
	}
	return id, nil
}

// NewKey returns a fresh random key in the form that its file has: 64 hexadecimal digits, used as they stand.
func NewKey() []byte {
	raw := make([]byte, minKey)
	rand.Read(raw) // never fails (crypto/rand)
	return []byte(hex.EncodeToString(raw))
}

// ReadKey reads the key from the certificate authority's folder. It is there once the control plane has started for the first time.
func ReadKey(caDir string) ([]byte, error) {
	path := filepath.Join(caDir, KeyFile)
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("join key: %w; the control plane makes it when it first starts", err)
	}
	if err != nil {
		return nil, fmt.Errorf("join key: %w", err)
	}
	if len(key) < minKey {
		return nil, fmt.Errorf("join key: %s has %d bytes and must have %d or more; remove it and the control plane makes a new one", path, len(key), minKey)
	}
	return key, nil
}
