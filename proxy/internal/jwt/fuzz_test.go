package jwt

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/jwt/jwttest"
)

// FuzzToken: whatever comes, a token is refused or is what encoding/json reads of it, within the
// bounds, and never verifies with keys that did not sign it.
func FuzzToken(f *testing.F) {
	k := jwttest.New(f)
	f.Add(k.Sign("ES256", `{"iss":"i","aud":["a"],"exp":1.5,"n":{"a":[null,"\\ud83d\\ude00"]}}`))
	f.Add(token(`{"alg":"none"}`, `{}`))
	f.Add(token(rs, `{"a":"\\ud800"}`))
	f.Add(token(rs, `{"a":1,"a":2}`))
	f.Add("..")
	strangers := keySet(f, jwttest.New(f).Set())
	f.Fuzz(func(t *testing.T, raw string) {
		tok, s := Parse(raw)
		if (tok == nil) == (s == OK) {
			t.Fatalf("%v with %q", tok, s)
		}
		if tok == nil {
			return
		}
		if strings.Count(raw, ".") != 2 || len(raw) > MaxTokenSize {
			t.Errorf("took %q", raw)
		}
		payload, err := decodeBase64(tok.EncodedPayload)
		if err != nil {
			t.Fatal(err)
		}
		var plain map[string]any
		if err := json.Unmarshal(payload, &plain); err != nil {
			t.Errorf("took what is no JSON: %v", err)
		}
		a, _ := json.Marshal(plain)
		b, _ := json.Marshal(tok.Payload)
		if string(a) != string(b) {
			t.Errorf("read %s, want %s", b, a)
		}
		if strangers.Verify(tok) == OK {
			t.Errorf("verified %q with keys that did not sign it", raw)
		}
	})
}

// FuzzKeys: a key set is refused, or has keys of known types only.
func FuzzKeys(f *testing.F) {
	k := jwttest.New(f)
	f.Add([]byte(k.Set()))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA"}]}`))
	f.Add([]byte(`{"a":"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n"}`))
	tok, s := Parse(k.Sign("RS256", `{}`))
	if s != OK {
		f.Fatal(s)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		set, err := ParseKeys(raw)
		if (set == nil) == (err == nil) {
			t.Fatalf("%v with %v", set, err)
		}
		if set == nil {
			return
		}
		if n := set.Len(); n == 0 || n > maxKeys {
			t.Errorf("%d keys", n)
		}
		for _, key := range set.keys {
			if a, ok := algorithms[key.alg]; key.alg != "" && (!ok || a.kind != key.kind) {
				t.Errorf("a key of kind %d for %q", key.kind, key.alg)
			}
		}
		set.Verify(tok) // must not panic, whatever the keys
	})
}
