package jwt

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/lateen-mesh/lateen/proxy/internal/jwt/jwttest"
)

func keySet(t testing.TB, raw string) *KeySet {
	t.Helper()
	s, err := ParseKeys([]byte(raw))
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	return s
}

// judge parses and verifies.
func judge(s *KeySet, raw string) Status {
	t, st := Parse(raw)
	if st != OK {
		return st
	}
	return s.Verify(t)
}

// TestVectors are the examples of RFC 7515, appendices A.1 and A.3.
func TestVectors(t *testing.T) {
	const payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	for _, v := range []struct{ key, header, signature string }{
		{
			`{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`,
			"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
		},
		{
			`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
			"eyJhbGciOiJFUzI1NiJ9", "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
		},
	} {
		s := keySet(t, `{"keys":[`+v.key+`]}`)
		if got := judge(s, v.header+"."+payload+"."+v.signature); got != OK {
			t.Errorf("%s: %q", v.header, got)
		}
		if got := judge(s, v.header+"."+payload+"."+v.signature[:len(v.signature)-4]+"AAAA"); got != VerificationFailed {
			t.Errorf("%s, changed: %q", v.header, got)
		}
	}
}

// TestAlgorithms verifies tokens of another library, each with every set of a single key: only the
// algorithm's own may do.
func TestAlgorithms(t *testing.T) {
	k := jwttest.New(t)
	private := map[string]any{"rsa": k.RSA, "p256": k.P256, "p384": k.P384, "p521": k.P521, "ed": k.Ed, "secret": k.Secret}
	for alg, own := range jwttest.Algorithms() {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: private[own]}, nil)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := signer.Sign([]byte(`{"iss":"i"}`))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := sig.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range jwttest.IDs() {
			want := VerificationFailed
			if id == own {
				want = OK
			}
			if got := judge(keySet(t, k.Set(id)), raw); got != want {
				t.Errorf("%s with %s: %q, want %q", alg, id, got, want)
			}
		}
		if got := judge(keySet(t, k.Set()), raw); got != OK {
			t.Errorf("%s with all keys: %q", alg, got)
		}
		cut := raw[:strings.LastIndexByte(raw, '.')+1] + "AAAA"
		want := VerificationFailed
		if alg == "EdDSA" {
			want = EdDSASignatureBadSize
		}
		if got := judge(keySet(t, k.Set()), cut); got != want {
			t.Errorf("%s, cut: %q, want %q", alg, got, want)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	k, other := jwttest.New(t), jwttest.New(t)
	all := keySet(t, k.Set())
	pinned := func(id, alg string) *KeySet {
		j := k.JWK(id)
		j.Algorithm = alg
		raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{j}})
		if err != nil {
			t.Fatal(err)
		}
		return keySet(t, string(raw))
	}
	const rsa = `{"alg":"RS256","kid":"rsa"}`
	good := k.Sign("RS256", `{"iss":"i"}`)
	parts := strings.Split(good, ".")
	es := strings.Split(k.Sign("ES256", `{}`), ".")
	for _, test := range []struct {
		name string
		set  *KeySet
		raw  string
		want Status
	}{
		{"good", all, good, OK},
		{"good, no kid", all, k.SignRaw("RS256", "rsa", `{"alg":"RS256"}`, `{}`), OK},
		{"good, pinned", pinned("rsa", "PS256"), k.Sign("PS256", `{}`), OK},
		{"another's key", all, other.Sign("RS256", `{}`), VerificationFailed},
		{"another payload", all, parts[0] + "." + jwttest.Encode(`{"iss":"evil"}`) + "." + parts[2], VerificationFailed},
		{"another header", all, jwttest.Encode(`{"alg":"RS256"}`) + "." + parts[1] + "." + parts[2], VerificationFailed},
		{"unknown kid", all, k.SignRaw("RS256", "rsa", `{"alg":"RS256","kid":"x"}`, `{}`), NoKeyMatches},
		{"another alg than the key's", pinned("rsa", "RS256"), k.Sign("RS512", `{}`), NoKeyMatches},
		{"PKCS#1 said to be PSS", all, k.SignRaw("RS256", "rsa", `{"alg":"PS256","kid":"rsa"}`, `{}`), VerificationFailed},
		{"PSS said to be PKCS#1", all, k.SignRaw("PS256", "rsa", rsa, `{}`), VerificationFailed},
		{"another hash", all, k.SignRaw("RS512", "rsa", rsa, `{}`), VerificationFailed},
		// Algorithm confusion: a public key is no secret, whatever the token says.
		{"public key as secret", all, k.SignRaw("HS256", "rsa", `{"alg":"HS256","kid":"rsa"}`, `{}`), VerificationFailed},
		{"public key as secret, no kid", keySet(t, k.Set("rsa")), k.SignRaw("HS256", "rsa", `{"alg":"HS256"}`, `{}`), VerificationFailed},
		// A curve has one algorithm; Envoy takes these two.
		{"ES256 with P-384", all, k.SignRaw("ES256", "p384", `{"alg":"ES256","kid":"p384"}`, `{}`), VerificationFailed},
		{"RS256 with P-256", all, k.SignRaw("ES256", "p256", `{"alg":"RS256","kid":"p256"}`, `{}`), VerificationFailed},
		{"ECDSA, longer", all, es[0] + "." + es[1] + "." + jwttest.Encode(strings.Repeat("\x00", 80)), VerificationFailed},
		{"ECDSA of zeros", all, es[0] + "." + es[1] + "." + jwttest.Encode(strings.Repeat("\x00", 64)), VerificationFailed},
		{"ECDSA of ones", all, es[0] + "." + es[1] + "." + jwttest.Encode(strings.Repeat("\xff", 64)), VerificationFailed},
		{"critical extension", all, k.SignRaw("RS256", "rsa", `{"alg":"RS256","crit":["b64"],"b64":false}`, `{}`), VerificationFailed}, // taken by Envoy
	} {
		if got := judge(test.set, test.raw); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestParseKeys(t *testing.T) {
	k := jwttest.New(t)
	jwk := func(id string, change ...string) string {
		raw, err := k.JWK(id).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(change); i += 2 {
			var v any
			if err := json.Unmarshal([]byte(change[i+1]), &v); err != nil {
				t.Fatal(err)
			}
			if m[change[i]] = v; v == nil {
				delete(m, change[i])
			}
		}
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	set := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
	good := jwk("ed")
	long := strings.Repeat("A", 2000)
	for _, test := range []struct {
		name, raw string
		keys      int
		err       string
	}{
		{name: "all", raw: k.Set(), keys: 6},
		{name: "more members", raw: `{"keys":[` + jwk("rsa", "x5c", `["no certificate"]`, "x5t", `"x"`, "d", `"AQ"`, "use", `"sig"`) + `],"more":1}`, keys: 1},
		{name: "useless ones are skipped", raw: set(
			good, `{}`, `1`, `{"kty":"XX"}`, `{"kty":1}`, `{"kty":"RSA"}`,
			jwk("rsa", "use", `"enc"`), jwk("rsa", "alg", `"ES256"`), jwk("rsa", "alg", `"RSA-OAEP"`), jwk("rsa", "e", `"AQ"`), jwk("rsa", "e", `"AQAC"`),
			jwk("rsa", "n", `"`+long+`"`), jwk("rsa", "n", `"AQAB"`), jwk("rsa", "n", `"!"`), jwk("rsa", "n", `1`), jwk("rsa", "kid", `1`),
			jwk("p256", "crv", `"P-384"`), jwk("p256", "crv", `"secp256k1"`), jwk("p256", "y", `"AQ"`), jwk("p256", "x", `null`), jwk("p256", "alg", `"ES384"`),
			jwk("ed", "crv", `"X25519"`), jwk("ed", "crv", `"Ed448"`), jwk("ed", "x", `"AQ"`), jwk("ed", "alg", `"RS256"`),
			jwk("secret", "k", `""`), jwk("secret", "k", `null`), jwk("secret", "alg", `"none"`), jwk("secret", "alg", `"RS256"`),
		), keys: 1},
		{name: "none of use", raw: set(jwk("rsa", "use", `"enc"`)), err: `keys[0]: is for "enc"`},
		{name: "empty", raw: set(), err: "empty"},
		{name: "no JSON", raw: "x", err: "JSON object"},
		{name: "a list", raw: "[" + good + "]", err: "JSON object"},
		{name: "nothing", raw: "", err: "JSON object"},
		{name: "HTML", raw: "<html></html>", err: "JSON object"},
		{name: "keys twice", raw: `{"keys":[],"keys":[` + good + `]}`, err: "JSON object"},
		{name: "no keys", raw: "{}", err: `needs the member "keys"`},
		{name: "a key alone", raw: good, err: "certificates"},
		{name: "keys no list", raw: `{"keys":{}}`, err: "must be a list"},
		{name: "too many", raw: set(strings.Split(strings.Repeat(good+";", 101), ";")[:101]...), err: "101 keys"},
		{name: "too large", raw: `{"keys":[` + good + `],"x":"` + strings.Repeat("A", MaxKeySetSize) + `"}`, err: "larger than the limit"},
	} {
		s, err := ParseKeys([]byte(test.raw))
		switch {
		case test.err != "":
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: %v, want %q", test.name, err, test.err)
			}
		case err != nil:
			t.Errorf("%s: %v", test.name, err)
		case s.Len() != test.keys:
			t.Errorf("%s: %d keys, want %d", test.name, s.Len(), test.keys)
		}
	}
}

// TestCertificates reads the form that some issuers publish: certificates by key id.
func TestCertificates(t *testing.T) {
	k := jwttest.New(t)
	certificate := func(key crypto.Signer) string {
		c := &x509.Certificate{SerialNumber: big.NewInt(1)}
		der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	object := func(pairs ...string) string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	s := keySet(t, object("rsa", certificate(k.RSA)))
	if got := judge(s, k.Sign("RS256", `{}`)); got != OK {
		t.Errorf("%q", got)
	}
	if got := judge(s, k.SignRaw("RS256", "rsa", `{"alg":"RS256","kid":"x"}`, `{}`)); got != NoKeyMatches {
		t.Errorf("another kid: %q", got)
	}
	for raw, want := range map[string]string{
		object("a", certificate(k.RSA), "b", certificate(k.P256)):                     "no RSA key",
		object("a", certificate(k.RSA), "b", "x"):                                     "nothing but certificates",
		object("", certificate(k.RSA)):                                                "nothing but certificates",
		object("a", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"): "malformed",
		object("a", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"):    "not in PEM",
	} {
		if _, err := ParseKeys([]byte(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", raw, err, want)
		}
	}
}
