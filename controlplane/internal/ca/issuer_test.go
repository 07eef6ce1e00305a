package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

const issuerName = "https://kubernetes.default.svc"

// tokenKey is a key pair of an issuer.
type tokenKey struct {
	id  string
	alg jose.SignatureAlgorithm
	key crypto.Signer
}

func newTokenKey(t testing.TB, id string, alg jose.SignatureAlgorithm) tokenKey {
	t.Helper()
	k := tokenKey{id: id, alg: alg}
	var err error
	switch alg {
	case jose.ES256:
		k.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.EdDSA:
		_, k.key, err = ed25519.GenerateKey(rand.Reader)
	default:
		k.key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// set is the public half of some keys, as issuers publish it.
func set(t testing.TB, keys ...tokenKey) string {
	t.Helper()
	var out jose.JSONWebKeySet
	for _, k := range keys {
		out.Keys = append(out.Keys, jose.JSONWebKey{Key: k.key.Public(), KeyID: k.id, Algorithm: string(k.alg), Use: "sig"})
	}
	raw, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func goodClaims(now time.Time) map[string]any {
	return map[string]any{
		"iss": issuerName, "sub": "system:serviceaccount:shop:web", "aud": []string{"istio-ca"}, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
}

func (k tokenKey) sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: jose.JSONWebKey{Key: k.key, KeyID: k.id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func issuerOf(t testing.TB, of Issuer, now func() time.Time) *issuerTokens {
	t.Helper()
	of.Issuer = issuerName
	i, err := newIssuerTokens(of, now)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestTokensOfAnIssuer(t *testing.T) {
	now := time.Now()
	rs, es, ed, stranger := newTokenKey(t, "rs", jose.RS256), newTokenKey(t, "es", jose.ES256), newTokenKey(t, "", jose.EdDSA), newTokenKey(t, "rs", jose.RS256)
	i := issuerOf(t, Issuer{JWKS: set(t, rs, es, ed)}, func() time.Time { return now })
	with := func(k tokenKey, key string, value any) string {
		c := goodClaims(now)
		if value == nil {
			delete(c, key)
		} else {
			c[key] = value
		}
		return k.sign(t, c)
	}
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	good := rs.sign(t, goodClaims(now))
	body := strings.Split(good, ".")[1]
	// Whoever takes a public key for a shared secret takes this one.
	public, err := x509.MarshalPKIXPublicKey(rs.key.Public())
	must(t, err)
	hs, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})}, nil)
	must(t, err)
	confused, err := jwt.Signed(hs).Claims(goodClaims(now)).Serialize()
	must(t, err)

	for _, tt := range []struct{ name, token, want string }{
		{"RS256", good, ""},
		{"ES256", es.sign(t, goodClaims(now)), ""},
		{"EdDSA, without a key's name", ed.sign(t, goodClaims(now)), ""},
		{"one audience as text", with(rs, "aud", "istio-ca"), ""},
		{"one of several audiences", with(rs, "aud", []string{"a", "istio-ca"}), ""},
		{"another audience", with(rs, "aud", []string{"vault"}), "audience"},
		{"no audience", with(rs, "aud", nil), "audience"},
		{"another issuer", with(rs, "iss", "https://elsewhere"), "another issuer"},
		{"expired", with(rs, "exp", now.Add(-2*time.Minute).Unix()), "expired"},
		{"not yet valid", with(rs, "nbf", now.Add(2*time.Minute).Unix()), "not valid yet"},
		{"without an end", with(rs, "exp", nil), "never expires"},
		{"an end of another type", with(rs, "exp", "tomorrow"), "another issuer"},
		{"no subject", with(rs, "sub", nil), "system:serviceaccount:"},
		{"a user", with(rs, "sub", "alice"), "system:serviceaccount:"},
		{"a subject of another type", with(rs, "sub", 7), "another issuer"},
		{"a subject with a path", with(rs, "sub", "system:serviceaccount:shop/x:web"), "namespace"},
		{"signed by a stranger under the key's name", stranger.sign(t, goodClaims(now)), "none of the issuer's keys"},
		{"a public key taken for a secret", confused, "not a JWT signed by a key pair"},
		{"none", part(`{"alg":"none"}`) + "." + body + ".", "not a JWT signed by a key pair"},
		{"no signature", strings.Join(strings.Split(good, ".")[:2], ".") + ".", "none of the issuer's keys"},
		{"another body", strings.Split(good, ".")[0] + "." + part(`{"iss":"`+issuerName+`","sub":"system:serviceaccount:shop:admin"}`) + "." + strings.Split(good, ".")[2], "none of the issuer's keys"},
		{"another key's algorithm", part(`{"alg":"ES256","kid":"rs"}`) + "." + body + "." + strings.Split(good, ".")[2], "none of the issuer's keys"},
		{"too long", good + strings.Repeat("a", maxToken), "bytes"},
		{"nothing", "", "not a JWT"},
		{"rubbish", "a.b.c", "not a JWT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := i.Identify(t.Context(), tt.token)
			switch {
			case tt.want == "" && (err != nil || id != web):
				t.Errorf("%v, %v; want %v", id, err, web)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, %v; want an error with %q", id, err, tt.want)
			case err != nil && len(tt.token) > 40 && strings.Contains(err.Error(), tt.token[:40]):
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}

// keyServer answers what a test says, and counts.
type keyServer struct {
	*httptest.Server
	asked  atomic.Int32
	answer atomic.Pointer[http.HandlerFunc]
}

func newKeyServer(t *testing.T) *keyServer {
	s := &keyServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		(*s.answer.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) say(text string) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
	s.answer.Store(&h)
}

func (s *keyServer) fail(code int) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "away", code) })
	s.answer.Store(&h)
}

func TestKeysAreFetchedAndRotate(t *testing.T) {
	now := time.Now()
	old, fresh := newTokenKey(t, "old", jose.ES256), newTokenKey(t, "fresh", jose.ES256)
	s := newKeyServer(t)
	s.say(set(t, old))
	i := issuerOf(t, Issuer{JWKSURI: s.URL, Refresh: time.Minute}, func() time.Time { return now })
	token := func(k tokenKey) string { return k.sign(t, goodClaims(now)) }
	want := func(when string, k tokenKey, text string, asked int32) {
		t.Helper()
		_, err := i.Identify(t.Context(), token(k))
		if text == "" && err != nil || text != "" && (err == nil || !strings.Contains(err.Error(), text)) {
			t.Errorf("%s: %v, want %q", when, err, text)
		}
		if got := s.asked.Load(); got != asked {
			t.Errorf("%s: asked %d times, want %d", when, got, asked)
		}
	}
	want("at first", old, "", 1)
	want("again", old, "", 1)
	want("a key that is not there, at once", fresh, "none of the issuer's keys", 1)
	now = now.Add(keysAtMost)
	want("a key that is not there", fresh, "none of the issuer's keys", 2)
	want("and once more", fresh, "none of the issuer's keys", 2)
	s.say(set(t, fresh))
	now = now.Add(keysAtMost)
	want("it has come", fresh, "", 3)
	want("the old one has gone", old, "none of the issuer's keys", 3)
	s.fail(http.StatusServiceUnavailable)
	now = now.Add(time.Minute - keysAtMost)
	want("they are good for a while", fresh, "", 3)
	now = now.Add(keysAtMost)
	want("the server is away", fresh, "", 4)
	want("it is not asked all the time", fresh, "", 4)
	s.say(set(t, old))
	now = now.Add(keysAtMost)
	want("it is back", old, "", 5)
}

func TestKeyServersThatLie(t *testing.T) {
	now := time.Now()
	key := newTokenKey(t, "k", jose.ES256)
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.key, KeyID: "k"}}})
	must(t, err)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	weak := tokenKey{"k", jose.RS256, small}
	for name, tt := range map[string]struct{ answer, want string }{
		"not JSON":        {"<html>", "no JSON Web Key Set"},
		"no keys":         {"{}", "no public key"},
		"shared secrets":  {`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`, "no public key"},
		"private keys":    {string(private), "no public key"},
		"a short RSA key": {set(t, weak), "no public key"},
		"for encryption":  {strings.Replace(set(t, key), `"use":"sig"`, `"use":"enc"`, 1), "no public key"},
		"too long":        {strings.Repeat(" ", keySetBounds().Size+1), "larger than"},
		"too many":        {`{"keys":[` + strings.TrimSuffix(strings.Repeat("{},", maxKeys+1), ",") + `]}`, "keys"},
	} {
		s := newKeyServer(t)
		s.say(tt.answer)
		i := issuerOf(t, Issuer{JWKSURI: s.URL}, func() time.Time { return now })
		if _, err := i.Identify(t.Context(), key.sign(t, goodClaims(now))); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// A server of keys that does not answer holds up one caller and no other.
func TestSlowKeyServer(t *testing.T) {
	now := time.Now()
	key := newTokenKey(t, "k", jose.ES256)
	s := newKeyServer(t)
	release, begun := make(chan struct{}), make(chan struct{})
	slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { close(begun); <-release; fmt.Fprint(w, set(t, key)) })
	s.answer.Store(&slow)
	i := issuerOf(t, Issuer{JWKSURI: s.URL}, func() time.Time { return now })
	first := make(chan error, 1)
	go func() { _, err := i.Identify(context.Background(), key.sign(t, goodClaims(now))); first <- err }()
	<-begun
	if _, err := i.Identify(t.Context(), key.sign(t, goodClaims(now))); err == nil || !strings.Contains(err.Error(), "try again") {
		t.Errorf("while they are fetched: %v", err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestIssuersThatAreRefused(t *testing.T) {
	keys := set(t, newTokenKey(t, "k", jose.ES256))
	for name, tt := range map[string]struct {
		of   Issuer
		want string
	}{
		"no name":     {Issuer{JWKS: keys}, "no name"},
		"no keys":     {Issuer{Issuer: "i"}, "give its keys"},
		"both":        {Issuer{Issuer: "i", JWKS: keys, JWKSURI: "https://i/keys"}, "give its keys"},
		"bad keys":    {Issuer{Issuer: "i", JWKS: "{}"}, "no public key"},
		"plaintext":   {Issuer{Issuer: "i", JWKSURI: "http://i/keys"}, "https"},
		"another URL": {Issuer{Issuer: "i", JWKSURI: "file:///etc/passwd"}, "https"},
	} {
		if _, err := Open(Options{Dir: t.TempDir(), Issuers: []Issuer{tt.of}}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// The whole way: a certificate for an issuer's token, of that service account and no other.
func TestCertificateForAnIssuersToken(t *testing.T) {
	key := newTokenKey(t, "k", jose.ES256)
	c := open(t, Options{Issuers: []Issuer{{Issuer: issuerName, JWKS: set(t, key)}}})
	addr := serve(t, c)
	req := &securityapi.IstioCertificateRequest{Csr: csr(t, newKey(t), x509.CertificateRequest{})}
	got, err := dial(t, addr, c.RootPEM(), nil).CreateCertificate(withToken(t.Context(), key.sign(t, goodClaims(time.Now()))), req)
	must(t, err)
	if id, err := spiffe.FromCertificate(parse(t, got.CertChain[0])); err != nil || id != web {
		t.Errorf("the certificate is of %v, %v", id, err)
	}
	bad := goodClaims(time.Now())
	bad["aud"] = "vault"
	token := key.sign(t, bad)
	_, err = dial(t, addr, c.RootPEM(), nil).CreateCertificate(withToken(t.Context(), token), req)
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "audience") || strings.Contains(err.Error(), token) {
		t.Errorf("another audience: %v", err)
	}
}

// FuzzIdentify: whatever is sent, nobody is anybody without a signature of the issuer's.
func FuzzIdentify(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	key, other := newTokenKey(f, "k", jose.ES256), newTokenKey(f, "k", jose.ES256)
	i := issuerOf(f, Issuer{JWKS: set(f, key)}, func() time.Time { return now })
	good := key.sign(f, goodClaims(now))
	parts := strings.Split(good, ".")
	f.Add(other.sign(f, goodClaims(now)))
	f.Add(parts[0] + "." + parts[1] + ".")
	f.Add(parts[0] + "..." + parts[2])
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".")
	f.Add(`{"payload":"` + parts[1] + `","signatures":[{"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}]}`)
	f.Fuzz(func(t *testing.T, token string) {
		// That is the signature, but for what its last character does not say.
		if strings.Contains(token, parts[2][:len(parts[2])-1]) {
			return
		}
		if id, err := i.Identify(context.Background(), token); err == nil {
			t.Errorf("%q is %v", token, id)
		}
	})
}
