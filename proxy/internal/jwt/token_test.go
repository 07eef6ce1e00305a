package jwt

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/proxy/internal/jwt/jwttest"
)

// token is one that is not signed.
func token(header, payload string) string {
	return jwttest.Encode(header) + "." + jwttest.Encode(payload) + ".c2ln"
}

const rs = `{"alg":"RS256"}`

func TestParse(t *testing.T) {
	raw := token(`{"alg":"ES256","kid":"k"}`, `{"iss":"i","sub":"s","aud":["a","b"],"exp":20,"nbf":10,"iat":5.9,"n":{"l":[1,"x",null,true]}}`)
	got, s := Parse(raw)
	if s != OK {
		t.Fatal(s)
	}
	want := &Token{
		Header: map[string]any{"alg": "ES256", "kid": "k"},
		Payload: map[string]any{
			"iss": "i", "sub": "s", "aud": []any{"a", "b"}, "exp": 20.0, "nbf": 10.0, "iat": 5.9,
			"n": map[string]any{"l": []any{1.0, "x", nil, true}},
		},
		EncodedPayload: strings.Split(raw, ".")[1],
		Algorithm:      "ES256", KeyID: "k", Issuer: "i", Subject: "s", Audiences: []string{"a", "b"}, IssuedAt: 5, NotBefore: 10, Expires: 20,
		signed: raw[:strings.LastIndexByte(raw, '.')], signature: []byte("sig"),
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(Token{})); d != "" {
		t.Error(d)
	}
	if got, s := Parse(token(rs, `{"aud":"one"}`)); s != OK || !cmp.Equal(got.Audiences, []string{"one"}) {
		t.Error(s, got)
	}
}

// TestParseRefuses holds the statuses to those that Envoy 1.40 gave for the same tokens, but where a
// comment says that it takes them.
func TestParseRefuses(t *testing.T) {
	good := token(rs, `{}`)
	p := strings.Split(good, ".")
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` }
	for _, test := range []struct {
		name, token string
		want        Status
	}{
		{"empty", "", BadFormat},
		{"one part", "a", BadFormat},
		{"two parts", "a.b", BadFormat},
		{"four parts", "a.b.c.d", BadFormat},
		{"only dots", "..", BadFormat},
		{"no header", "." + p[1] + "." + p[2], BadFormat},
		{"no payload", p[0] + ".." + p[2], BadFormat},
		{"no signature", p[0] + "." + p[1] + ".", BadFormat},
		{"a dot too many", p[0] + ".." + p[1] + "." + p[2], BadFormat}, // Envoy skips empty sections
		{"a dot at the end", good + ".", BadFormat},                    // as above
		{"huge", good + strings.Repeat("A", MaxTokenSize), BadFormat},  // no bound of its own in Envoy

		{"header: base64", "a!.b.c", HeaderBadBase64},
		{"header: plain base64", "+/+/.b.c", HeaderBadBase64},
		{"header: padded", jwttest.Encode(`{"alg":"RS256" }`) + "==." + p[1] + "." + p[2], HeaderBadBase64}, // padding is taken
		{"header: line break", p[0][:4] + "\n" + p[0][4:] + "." + p[1] + "." + p[2], HeaderBadBase64},       // skipped
		{"header: left-over bits", "e30AB." + p[1] + "." + p[2], HeaderBadBase64},
		{"header: no JSON", token("x", `{}`), HeaderBadJSON},
		{"header: list", token("[]", `{}`), HeaderBadJSON},
		{"header: alg twice", token(`{"alg":"HS256","alg":"RS256"}`, `{}`), HeaderBadJSON},
		{"header: alg twice, escaped", token(`{"alg":"HS256","\u0061lg":"RS256"}`, `{}`), HeaderBadJSON},
		{"no alg", token(`{}`, `{}`), HeaderBadAlg},
		{"alg of another case", token(`{"Alg":"RS256"}`, `{}`), HeaderBadAlg},
		{"alg a number", token(`{"alg":1}`, `{}`), HeaderBadAlg},
		{"alg null", token(`{"alg":null}`, `{}`), HeaderBadAlg},
		{"alg none", token(`{"alg":"none"}`, `{}`), HeaderAlgNotSupported},
		{"alg None", token(`{"alg":"None"}`, `{}`), HeaderAlgNotSupported},
		{"alg empty", token(`{"alg":""}`, `{}`), HeaderAlgNotSupported},
		{"alg in lower case", token(`{"alg":"rs256"}`, `{}`), HeaderAlgNotSupported},
		{"alg of encryption", token(`{"alg":"RSA-OAEP"}`, `{}`), HeaderAlgNotSupported},
		{"kid a number", token(`{"alg":"RS256","kid":1}`, `{}`), HeaderBadKid},

		{"payload: base64", p[0] + ".a!.c", PayloadBadBase64},
		{"payload: no JSON", token(rs, "x"), PayloadBadJSON},
		{"payload: list", token(rs, "[]"), PayloadBadJSON},
		{"payload: string", token(rs, `"x"`), PayloadBadJSON},
		{"payload: more behind it", token(rs, "{} x"), PayloadBadJSON},
		{"payload: two objects", token(rs, "{}{}"), PayloadBadJSON},
		{"payload: cut", token(rs, `{"a":1`), PayloadBadJSON},
		{"claim twice", token(rs, `{"iss":"a","iss":"b"}`), PayloadBadJSON},
		{"nested claim twice", token(rs, `{"a":[{"b":1,"b":2}]}`), PayloadBadJSON},
		{"not UTF-8", token(rs, "{\"a\":\"\xff\"}"), PayloadBadJSON},
		{"half a surrogate", token(rs, `{"a":"\ud800"}`), PayloadBadJSON},
		{"the other half", token(rs, `{"a":"\udc00 \\"}`), PayloadBadJSON},
		{"two first halves", token(rs, `{"a":"\ud800\ud800"}`), PayloadBadJSON},
		{"too deep", token(rs, deep(100)), PayloadBadJSON},
		{"much too deep", token(rs, deep(10000)), PayloadBadJSON},
		{"too many values", token(rs, `{"a":[`+strings.Repeat("1,", maxValues)+`1]}`), PayloadBadJSON}, // no bound in Envoy
		{"number too large", token(rs, `{"a":1e999}`), PayloadBadJSON},
		{"leading zero", token(rs, `{"a":01}`), PayloadBadJSON},
		{"NaN", token(rs, `{"a":NaN}`), PayloadBadJSON},
		{"single quotes", token(rs, `{'a':1}`), PayloadBadJSON},       // taken
		{"comma at the end", token(rs, `{"a":[1,]}`), PayloadBadJSON}, // taken

		{"iss", token(rs, `{"iss":1}`), IssuerNotString},
		{"iss null", token(rs, `{"iss":null}`), IssuerNotString},
		{"sub", token(rs, `{"sub":[]}`), SubjectNotString},
		{"iat", token(rs, `{"iat":"1"}`), IssuedAtNotInteger},
		{"iat negative", token(rs, `{"iat":-1}`), IssuedAtOutOfRange},
		{"nbf", token(rs, `{"nbf":true}`), NotBeforeNotInteger},
		{"nbf large", token(rs, `{"nbf":1e30}`), NotBeforeOutOfRange},
		{"exp", token(rs, `{"exp":"9"}`), ExpirationNotInteger},
		{"exp null", token(rs, `{"exp":null}`), ExpirationNotInteger},
		{"exp large", token(rs, `{"exp":18446744073709551616}`), ExpirationOutOfRange},
		{"jti", token(rs, `{"jti":1}`), IDNotString},
		{"aud", token(rs, `{"aud":1}`), AudienceNotString},
		{"aud null", token(rs, `{"aud":null}`), AudienceNotString},
		{"aud mixed", token(rs, `{"aud":["a",1]}`), AudienceNotString},
		{"aud object", token(rs, `{"aud":{}}`), AudienceNotString},

		{"signature: base64", p[0] + "." + p[1] + ".!!", SignatureBadBase64},
		{"signature: padded", good + "==", SignatureBadBase64}, // taken
		{"signature: blank", p[0] + "." + p[1] + ".c2 ln", SignatureBadBase64},
		{"signature: left-over bits", p[0] + "." + p[1] + ".c2lnB", SignatureBadBase64},
	} {
		if _, got := Parse(test.token); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	for _, payload := range []string{`{}`, `{"a":"\ud83d\ude00 \\ud800"}`, deep(98), ` {"exp":0} `, `{"exp":1.5}`, `{"a":[` + strings.Repeat("1,", maxValues-2) + `1]}`} {
		if _, got := Parse(token(rs, payload)); got != OK {
			t.Errorf("%s: %q", payload, got)
		}
	}
}

func TestCheckTime(t *testing.T) {
	for _, test := range []struct {
		nbf, exp, now, skew uint64
		want                Status
	}{
		{0, 0, 1000, 0, OK},
		{0, 100, 100, 0, OK},
		{0, 100, 101, 0, Expired},
		{0, 100, 160, 60, OK},
		{0, 100, 161, 60, Expired},
		{100, 0, 100, 0, OK},
		{100, 0, 99, 0, NotYetValid},
		{100, 0, 40, 60, OK},
		{100, 0, 39, 60, NotYetValid},
		{100, 50, 70, 0, NotYetValid}, // the first of two reasons
		{0, 1<<64 - 1, 5, 60, OK},
		{1<<64 - 1, 0, 5, 1<<32 - 1, NotYetValid},
	} {
		tok := &Token{NotBefore: test.nbf, Expires: test.exp}
		if got := tok.CheckTime(test.now, test.skew); got != test.want {
			t.Errorf("nbf %d, exp %d at %d with %d: %q, want %q", test.nbf, test.exp, test.now, test.skew, got, test.want)
		}
	}
}
