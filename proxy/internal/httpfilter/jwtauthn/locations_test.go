package jwtauthn

import (
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// places of a provider with issuer i.
func testPlaces(forms ...string) []place {
	var out []place
	for _, f := range forms {
		kind, rest, _ := strings.Cut(f, " ")
		name, prefix, _ := strings.Cut(rest, "|")
		p := place{name: name, prefix: prefix, issuers: []string{"i"}}
		switch kind {
		case "header":
			p.key = header.KeyOf(name)
		case "query":
			p.kind = inQuery
		case "cookie":
			p.kind = inCookie
		}
		out = append(out, p)
	}
	return out
}

func request(path string, fields ...string) *header.Map {
	h := &header.Map{}
	h.AddString(header.Path, path)
	for i := 0; i < len(fields); i += 2 {
		h.AddName(fields[i], []byte(fields[i+1]))
	}
	return h
}

func TestExtract(t *testing.T) {
	standard := []string{"header authorization|Bearer ", "query access_token"}
	own := []string{"header x-t|jwt=", "header x-raw", "query pb", "query pa", "cookie ck", "cookie cb"}
	for _, test := range []struct {
		name   string
		places []string
		h      *header.Map
		want   string // in the order in which they are collected
	}{
		{"nothing", standard, request("/"), ""},
		{"bearer", standard, request("/", "authorization", "Bearer a.b.c"), "a.b.c"},
		{"several blanks", standard, request("/", "authorization", "Bearer \t  a.b.c"), "a.b.c"},
		{"another case", standard, request("/", "authorization", "bearer a.b.c"), ""},
		{"no blank", standard, request("/", "authorization", "Bearera.b.c"), ""},
		{"behind others", standard, request("/", "authorization", "Basic x, Bearer a.b.c"), "a.b.c"},
		{"the rest belongs to it", standard, request("/", "authorization", "Bearer a.b.c, more"), "a.b.c, more"},
		{"quoted", standard, request("/", "authorization", `Bearer "a.b.c"`), `a.b.c"`},
		{"no token in it", standard, request("/", "authorization", "Bearer !!"), "Bearer !!"},
		{"nothing behind it", standard, request("/", "authorization", "Bearer "), "Bearer "},
		{"two of them are a list", standard, request("/", "authorization", "Bearer a.b.c", "authorization", "Bearer d.e.f"), "a.b.c,Bearer d.e.f"},
		{"parameter", standard, request("/x?y=1&access_token=a.b.c&z"), "a.b.c"},
		{"parameter, escaped", standard, request("/?acc%65ss_token=a%2eb.c"), "a.b.c"},
		{"parameter, malformed escape", standard, request("/?access_token=a%2"), "a%2"},
		{"parameter, empty", standard, request("/?access_token="), "(empty)"},
		{"parameter, no value", standard, request("/?access_token"), "(empty)"},
		{"parameter in a fragment", standard, request("/?x#?access_token=a"), ""},
		{"no parameter", standard, request("/access_token=a"), ""},
		{"both", standard, request("/?access_token=q", "authorization", "Bearer h"), "h|q"},
		{"every parameter of the name", standard, request("/?access_token=a&access_token=b"), "a|b"},

		{"own header", own, request("/", "x-t", "jwt=a"), "a"},
		{"own header, no prefix", own, request("/", "x-t", "a"), ""},
		{"raw header", own, request("/", "x-raw", "a b"), "a b"},
		{"raw header, empty", own, request("/", "x-raw", ""), "(empty)"},
		{"every field of another name", own, request("/", "x-raw", "a", "x-raw", "b"), "a|b"},
		{"standard places are off", own, request("/?access_token=a", "authorization", "Bearer b"), ""},
		{"cookie", own, request("/", "cookie", "x=y; ck=a; z"), "a"},
		{"cookie, quoted", own, request("/", "cookie", `ck="a"`), "a"},
		{"cookie, no blanks", own, request("/", "cookie", "x=1;ck=a;ck2=b"), "a"},
		{"cookie, empty", own, request("/", "cookie", "ck="), "(empty)"},
		{"cookie, no value", own, request("/", "cookie", "ck"), ""},
		{"every cookie of the name", own, request("/", "cookie", "ck=a; ck=b", "cookie", "ck=c"), "a|b|c"},
		{"in order of kind and name", own, request("/?pb=5&pa=4", "cookie", "ck=7; cb=6", "x-t", "jwt=2", "x-raw", "1"), "1|2|4|5|6|7"},
	} {
		e := newExtractor(&provider{places: testPlaces(test.places...)})
		var got []string
		for _, f := range e.extract(test.h, nil) {
			s := string(f.token)
			if s == "" {
				s = "(empty)"
			}
			got = append(got, s)
		}
		if strings.Join(got, "|") != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// TestSharedPlace: a place that two providers name is looked at once, for the issuers of both.
func TestSharedPlace(t *testing.T) {
	a := &provider{places: []place{{name: "x", key: header.KeyOf("x"), issuers: []string{"a"}}}}
	b := &provider{places: []place{{name: "x", key: header.KeyOf("x"), issuers: []string{"b"}}, {name: "y", key: header.KeyOf("y"), issuers: []string{""}}}}
	e := newExtractor(a, b)
	if len(e.places) != 2 || !e.places[0].allows("a") || !e.places[0].allows("b") || e.places[0].allows("c") || e.places[0].allows("") || !e.places[1].allows("c") {
		t.Errorf("%+v", e.places)
	}
	if !slices.Equal(a.places[0].issuers, []string{"a"}) {
		t.Error("the provider's own place was changed")
	}
}

func TestRemove(t *testing.T) {
	for in, want := range map[string]string{
		"/p?token=a":                       "/p",
		"/p?token":                         "/p",
		"/p?b=2&token=a&a=1&a=%41&c&=x":    "/p?b=2&a=1&a=%41&c&=x",
		"/p?token=a&x=%20+%0d%0a":          "/p?x=%20+%0d%0a",
		"/p?x=1&token=a":                   "/p?x=1",
		"/p?t%6Fken=a&token=b&x&tok%65n=c": "/p?x",
		"/p?tokens=a":                      "/p?tokens=a",
		"/p?token=a#frag?token=b":          "/p#frag?token=b",
		"/p?x=1&token=a#f":                 "/p?x=1#f",
		"/p#?token=a":                      "/p#?token=a",
		"/p":                               "/p",
		"/p?":                              "/p?",
		"/p?&&token=a&&":                   "/p?&&&",
	} {
		h := request(in)
		(&place{kind: inQuery, name: "token"}).remove(h)
		if got := string(h.Value(header.Path)); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	h := request("/", "x-t", "1", "other", "2", "x-t", "3", "cookie", "ck=4")
	testPlace := testPlaces("header x-t", "cookie ck")
	testPlace[0].remove(h)
	testPlace[1].remove(h)
	if h.Find(header.KeyOf("x-t"), 0) >= 0 || !h.Has(header.Cookie) || h.Len() != 3 {
		t.Error("not the token, and only the token, was removed")
	}
}

// FuzzQuery: what is removed is no longer found, and nothing else is lost.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"/p?a=1&token=x&b", "/?t%6fken", "/#?token", "/?token=a#token", "?&token&"} {
		f.Add(s)
	}
	p := &place{kind: inQuery, name: "token"}
	others := func(h *header.Map) string {
		var out []string
		for piece := range strings.SplitSeq(string(query(h)), "&") {
			name, _, _ := strings.Cut(piece, "=")
			if string(unescape([]byte(name))) != "token" {
				out = append(out, piece)
			}
		}
		return strings.Join(out, "&")
	}
	f.Fuzz(func(t *testing.T, path string) {
		h := request(path)
		before := others(h)
		p.remove(h)
		if found := p.fromQuery(query(h), nil); len(found) > 0 {
			t.Errorf("%q: %q is still there in %q", path, found[0].token, h.Value(header.Path))
		}
		if after := others(h); after != before {
			t.Errorf("%q: %q became %q", path, before, after)
		}
	})
}
