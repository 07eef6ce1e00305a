package jointoken

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func TestRoundTrip(t *testing.T) {
	key, now := NewKey(), time.Unix(1_800_000_000, 0)
	token, err := Mint(key, "shop", "web", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	id, err := Verify(key, token, "td.example", now.Add(59*time.Minute))
	if err != nil || id.String() != "spiffe://td.example/ns/shop/sa/web" {
		t.Errorf("Verify = %q, %v", id, err)
	}
	if _, err := Verify(key, token, "td.example", now.Add(62*time.Minute)); err == nil {
		t.Error("an expired token was taken")
	}
	if _, err := Verify(NewKey(), token, "td.example", now); err == nil {
		t.Error("a token of another mesh was taken")
	}
	if _, err := Mint(key, "shop", "../web", now, time.Hour); err == nil {
		t.Error("a service account that is no name was taken")
	}
}

func TestVerifyRefuses(t *testing.T) {
	key, now := NewKey(), time.Unix(1_800_000_000, 0)
	exp := jwt.NewNumericDate(now.Add(time.Hour))
	good := jwt.Claims{Issuer: Issuer, Audience: jwt.Audience{Audience}, Subject: "system:serviceaccount:shop:web", Expiry: exp}
	sign := func(alg jose.SignatureAlgorithm, key []byte, c jwt.Claims) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.Signed(s).Claims(c).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	with := func(change func(*jwt.Claims)) string {
		c := good
		change(&c)
		return sign(jose.HS256, key, c)
	}
	if _, err := Verify(key, sign(jose.HS256, key, good), "cluster.local", now); err != nil {
		t.Fatalf("the good token was refused: %v", err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	tests := map[string]string{
		"empty":          "",
		"not a token":    "a.b.c",
		"alg none":       b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{"iss":"lateen","aud":"istio-ca","sub":"system:serviceaccount:shop:web","exp":1900000000}`)) + ".",
		"HS512":          sign(jose.HS512, []byte(strings.Repeat("k", 64)), good),
		"no expiry":      with(func(c *jwt.Claims) { c.Expiry = nil }),
		"other issuer":   with(func(c *jwt.Claims) { c.Issuer = "someone" }),
		"other audience": with(func(c *jwt.Claims) { c.Audience = jwt.Audience{"vault"} }),
		"no audience":    with(func(c *jwt.Claims) { c.Audience = nil }),
		"not yet":        with(func(c *jwt.Claims) { c.NotBefore = jwt.NewNumericDate(now.Add(time.Hour / 2)) }),
		"no subject":     with(func(c *jwt.Claims) { c.Subject = "" }),
		"a user":         with(func(c *jwt.Claims) { c.Subject = "admin" }),
	}
	for name, token := range tests {
		if id, err := Verify(key, token, "cluster.local", now); err == nil {
			t.Errorf("%s: taken as %v", name, id)
		}
	}
}

func TestReadKey(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadKey(dir); err == nil || !strings.Contains(err.Error(), "control plane makes it") {
		t.Errorf("missing key: %v", err)
	}
	write := func(b []byte) {
		if err := os.WriteFile(filepath.Join(dir, KeyFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte("short"))
	if _, err := ReadKey(dir); err == nil {
		t.Error("a short key was taken")
	}
	key := NewKey()
	write(key)
	if got, err := ReadKey(dir); err != nil || string(got) != string(key) {
		t.Errorf("ReadKey = %q, %v", got, err)
	}
}

// FuzzVerify: nothing that this key has not signed is taken. The seeds are what others sign, and what
// this key has signed for a time that is over.
func FuzzVerify(f *testing.F) {
	key, now := []byte(strings.Repeat("k", 32)), time.Unix(1_800_000_000, 0)
	mint := func(key []byte, when time.Time) string {
		token, err := Mint(key, "shop", "web", when, time.Hour)
		if err != nil {
			f.Fatal(err)
		}
		return token
	}
	own := mint(key, now)
	if _, err := Verify(key, own, "cluster.local", now); err != nil {
		f.Fatal(err)
	}
	f.Add(mint(NewKey(), now))
	f.Add(mint(key, now.Add(-2*time.Hour)))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		if id, err := Verify(key, token, "cluster.local", now); err == nil && token != own {
			t.Errorf("%q was taken as %v", token, id)
		}
	})
}
