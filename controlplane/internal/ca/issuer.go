package ca

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/lateen-mesh/lateen/controlplane/internal/webfetch"
	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// Bounds of tokens and of key servers.
const (
	maxToken     = 16 << 10 // bytes
	maxKeys      = 100
	keysRefresh  = 20 * time.Minute
	keysAtMost   = 10 * time.Second // how often keys are fetched when a token names one that is not there, or when fetching fails
	tokenLeeway  = time.Minute      // what the clocks of two hosts may differ by
	minRSAModule = 2048             // bits (RFC 7518, section 3.3)
)

// keySetBounds are those of what a server of keys may do to us.
func keySetBounds() webfetch.Bounds { return webfetch.Bounds{Timeout: 5 * time.Second, Size: 1 << 20} }

// tokenAlgorithms are those of key pairs. With a shared secret whoever checks tokens could make them, and "none" proves nothing.
var tokenAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// Issuer says whose tokens prove that a caller is a service account: those with the claims of a Kubernetes service account token, subject
// system:serviceaccount:NAMESPACE:NAME. It is the part of Istio's JWT_RULE that has a meaning here.
type Issuer struct {
	// Issuer is the claim "iss".
	Issuer string
	// Audiences are those of which a token must have one. Default "istio-ca".
	Audiences []string
	// JWKS are its keys (RFC 7517), else JWKSURI is where they are fetched, with https or from this machine.
	JWKS, JWKSURI string
	// Refresh is how long fetched keys are used before they are fetched again. Default 20 minutes, Istio's PILOT_JWT_PUB_KEY_REFRESH_INTERVAL.
	Refresh time.Duration
	// Client fetches keys. Default: one that trusts the system's authorities.
	Client *http.Client
}

// issuerTokens checks tokens of one issuer.
type issuerTokens struct {
	of  Issuer
	now func() time.Time

	fetching sync.Mutex // held while keys are fetched
	mu       sync.Mutex
	keys     []jose.JSONWebKey
	// asked is when the keys were last fetched, or could not be; good is when they last could.
	asked, good time.Time
	problem     error // why they could not be had the last time
}

func newIssuerTokens(of Issuer, now func() time.Time) (*issuerTokens, error) {
	if of.Issuer == "" {
		return nil, errors.New("an issuer of tokens has no name (issuer)")
	}
	if len(of.Audiences) == 0 {
		of.Audiences = []string{jointoken.Audience}
	}
	if of.Refresh <= 0 {
		of.Refresh = keysRefresh
	}
	t := &issuerTokens{of: of, now: now}
	switch {
	case (of.JWKS == "") == (of.JWKSURI == ""):
		return nil, fmt.Errorf("issuer %s: give its keys (jwks), or where they are (jwksUri)", of.Issuer)
	case of.JWKS != "":
		var err error
		if t.keys, err = parseKeys([]byte(of.JWKS)); err != nil {
			return nil, fmt.Errorf("issuer %s: jwks: %w", of.Issuer, err)
		}
		return t, nil
	}
	u, err := url.Parse(of.JWKSURI)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && (u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1")) {
		return nil, fmt.Errorf("issuer %s: jwksUri must be an https URL: whoever can change the keys on their way can be anybody", of.Issuer)
	}
	if t.of.Client == nil {
		t.of.Client = keySetBounds().Client()
	}
	return t, nil
}

// parseKeys reads a key set and keeps the public keys that may check tokens.
func parseKeys(text []byte) ([]jose.JSONWebKey, error) {
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, errors.New("it is no JSON Web Key Set")
	}
	if len(raw.Keys) > maxKeys {
		return nil, fmt.Errorf("it has %d keys, and %d are allowed", len(raw.Keys), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, one := range raw.Keys {
		var k jose.JSONWebKey
		// Keys of a kind that is not known belong to somebody else (RFC 7517, section 5).
		if k.UnmarshalJSON(one) != nil || !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
			continue
		}
		if r, ok := k.Key.(*rsa.PublicKey); ok && r.N.BitLen() < minRSAModule {
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no public key with which tokens can be checked")
	}
	return keys, nil
}

// Identify implements TokenAuthenticator.
func (t *issuerTokens) Identify(ctx context.Context, token string) (spiffe.ID, error) {
	id, err := t.identify(ctx, token)
	if err != nil {
		return spiffe.ID{}, fmt.Errorf("token of %s: %w", t.of.Issuer, err)
	}
	return id, nil
}

func (t *issuerTokens) identify(ctx context.Context, token string) (spiffe.ID, error) {
	if len(token) > maxToken {
		return spiffe.ID{}, fmt.Errorf("it has %d bytes and may have %d", len(token), maxToken)
	}
	parsed, err := jwt.ParseSigned(token, tokenAlgorithms)
	if err != nil || len(parsed.Headers) != 1 {
		return spiffe.ID{}, errors.New("it is not a JWT signed by a key pair")
	}
	var claims jwt.Claims
	// What it says of itself only decides whether its signature is looked at.
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil || claims.Issuer != t.of.Issuer {
		return spiffe.ID{}, errors.New("it is of another issuer")
	}
	if claims, err = t.verify(ctx, parsed); err != nil {
		return spiffe.ID{}, err
	}
	if claims.Expiry == nil {
		return spiffe.ID{}, errors.New("it never expires (no claim exp), which is refused")
	}
	if err := claims.ValidateWithLeeway(jwt.Expected{Issuer: t.of.Issuer, AnyAudience: t.of.Audiences, Time: t.now()}, tokenLeeway); err != nil {
		return spiffe.ID{}, err
	}
	return spiffe.ParseServiceAccount(claims.Subject, spiffe.DefaultTrustDomain)
}

// verify returns the claims of a token that one of the issuer's keys has signed. Keys are fetched when they are old, or when none is the token's.
func (t *issuerTokens) verify(ctx context.Context, token *jwt.JSONWebToken) (jwt.Claims, error) {
	keys, err := t.current(ctx, false)
	if claims, ok := check(token, keys); ok {
		return claims, nil
	}
	if t.of.JWKSURI != "" && err == nil {
		if keys, err = t.current(ctx, true); err == nil {
			if claims, ok := check(token, keys); ok {
				return claims, nil
			}
		}
	}
	if err != nil {
		// It may be good: that is for the keys' server to say, which cannot.
		return jwt.Claims{}, fmt.Errorf("its keys cannot be had: %w", err)
	}
	return jwt.Claims{}, errors.New("none of the issuer's keys has signed it")
}

func check(token *jwt.JSONWebToken, keys []jose.JSONWebKey) (jwt.Claims, bool) {
	header := token.Headers[0]
	for _, k := range keys {
		if header.KeyID != "" && k.KeyID != "" && header.KeyID != k.KeyID || k.Algorithm != "" && k.Algorithm != header.Algorithm {
			continue
		}
		var claims jwt.Claims
		if token.Claims(k.Key, &claims) == nil {
			return claims, true
		}
	}
	return jwt.Claims{}, false
}

// current returns the keys, fetched anew if they are old, or if newer ones are wanted. Those from before stay while there are no others.
func (t *issuerTokens) current(ctx context.Context, newer bool) ([]jose.JSONWebKey, error) {
	if keys, err, fresh := t.known(newer); fresh {
		return keys, err
	}
	// Nobody waits for another's fetch: anybody can make up tokens, and a slow server of keys must not hold up who has another proof.
	if !t.fetching.TryLock() {
		keys, err, _ := t.known(newer)
		if len(keys) == 0 && err == nil {
			err = errors.New("they are being fetched; try again")
		}
		return keys, err
	}
	defer t.fetching.Unlock()
	// Nor does it end with the one who has caused it.
	keys, err := t.fetch(context.WithoutCancel(ctx))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked, t.problem = t.now(), err
	if err == nil {
		t.keys, t.good = keys, t.asked
	}
	return t.keys, t.problemNow()
}

// known returns what there is, and whether that is to do.
func (t *issuerTokens) known(newer bool) (keys []jose.JSONWebKey, err error, fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	fresh = t.of.JWKSURI == "" || now.Sub(t.asked) < keysAtMost || !newer && now.Sub(t.good) < t.of.Refresh
	return t.keys, t.problemNow(), fresh
}

// problemNow is why there are no keys; nil when there are some, if old ones.
func (t *issuerTokens) problemNow() error {
	if len(t.keys) > 0 {
		return nil
	}
	return t.problem
}

func (t *issuerTokens) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	body, err := keySetBounds().Get(ctx, t.of.Client, t.of.JWKSURI)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.of.JWKSURI, err)
	}
	return slices.Clip(keys), nil
}
