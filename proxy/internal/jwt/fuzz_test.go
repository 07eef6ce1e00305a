package jwt

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

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

// FuzzObject holds the reader of JSON to encoding/json: what it takes is the same there, and what it
// refuses is refused there, but for what is said to be stricter.
func FuzzObject(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : [ 1 , -0.5e+3 , true , false , null , { } , "\u00e9\ud83d\ude00\n\/" ] } `, `{"a":1,"a":2}`, `{"a":"\ud800"}`, `{"a":01}`, `{"a":1.}`,
		`{"a":1e999}`, `{"a":-}`, `{"a"}`, `{"a":1,}`, `[1]`, `{} {}`, `{"a":tru}`, "{\"a\":\"\x01\"}", `{"a":"\q"}`, "{\"a\":\"\xff\"}", `{"":{"":{"":[[[]]]}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := parseObject(raw)
		var want map[string]any
		plain := json.Unmarshal(raw, &want)
		if err == nil {
			if plain != nil {
				t.Fatalf("%q: taken, though %v", raw, plain)
			}
			if !cmp.Equal(got, want) {
				t.Errorf("%q: %v, want %v", raw, got, want)
			}
			return
		}
		if plain != nil || want == nil { // "null"
			return
		}
		if utf8.Valid(raw) && !twice(raw) && !bytes.Contains(bytes.ToLower(raw), []byte(`\ud`)) && bytes.Count(raw, []byte(","))+bytes.Count(raw, []byte(":")) < maxValues && !deep(raw) {
			t.Errorf("%q: refused", raw)
		}
	})
}

// twice reports whether an object has a name more than once.
func twice(raw []byte) bool {
	var names []map[string]bool
	d := json.NewDecoder(bytes.NewReader(raw))
	isName := []bool{}
	for {
		tok, err := d.Token()
		if err != nil {
			return false
		}
		switch tok {
		case json.Delim('{'):
			names, isName = append(names, map[string]bool{}), append(isName, true)
			continue
		case json.Delim('['):
			names, isName = append(names, nil), append(isName, false)
			continue
		case json.Delim('}'), json.Delim(']'):
			names, isName = names[:len(names)-1], isName[:len(isName)-1]
		default:
			top := len(names) - 1
			if top >= 0 && names[top] != nil && isName[top] {
				name := tok.(string)
				if names[top][name] {
					return true
				}
				names[top][name], isName[top] = true, false
				continue
			}
		}
		if top := len(names) - 1; top >= 0 && names[top] != nil {
			isName[top] = true
		}
	}
}

// deep reports whether nesting may go beyond the bound.
func deep(raw []byte) bool {
	return bytes.Count(raw, []byte("["))+bytes.Count(raw, []byte("{")) > maxDepth
}
