package route

import (
	"net/netip"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestHashCookieIsMade(t *testing.T) {
	const value = "b2f6a081ecfebfcf" // what Envoy 1.40 gives a connection with these ends
	c := Connection{Remote: netip.MustParseAddrPort("127.0.0.1:19873"), Local: netip.MustParseAddrPort("127.0.0.1:19871")}
	hour, session := time.Hour, time.Duration(0)
	for _, test := range []struct {
		name    string
		cookie  xdsresource.HashCookie
		request string
		want    string // of set-cookie; "": none
		hash    bool
	}{
		{"no time to live", xdsresource.HashCookie{Name: "s"}, "x: y", "", false},
		{"session", xdsresource.HashCookie{Name: "s", TTL: &session}, "x: y", `s="` + value + `"; HttpOnly`, true},
		{"all", xdsresource.HashCookie{Name: "s", TTL: &hour, Path: "/p", Attributes: []xdsresource.HashCookieAttribute{{Name: "Secure"}, {Name: "SameSite", Value: "Lax"}}},
			"cookie: other=1", `s="` + value + `"; Max-Age=3600; Path=/p; Secure; SameSite=Lax; HttpOnly`, true},
		{"sent", xdsresource.HashCookie{Name: "s", TTL: &hour}, "cookie: s=1", "", true},
		{"sent empty", xdsresource.HashCookie{Name: "s", TTL: &session}, "cookie: s=", `s="` + value + `"; HttpOnly`, true},
		{"sent empty, not made", xdsresource.HashCookie{Name: "s"}, "cookie: s=", "", false},
	} {
		f := forwardOf(&xdsresource.RouteAction{Hash: []xdsresource.HashPolicy{{Cookie: &test.cookie}}})
		hash, ok, made := f.Hash(HashInput{Headers: get("/", test.request).Headers, Source: netip.Addr{}, Connection: c}, nil)
		var answer header.Map
		for _, k := range made {
			c.SetCookie(&answer, k)
		}
		got := string(answer.Value(header.SetCookie))
		if got != test.want || ok != test.hash {
			t.Errorf("%s: set-cookie %q, hash %v; want %q, %v", test.name, got, ok, test.want, test.hash)
		}
		// What is made must lead to where the client comes with it.
		if len(made) > 0 {
			again, _, more := f.Hash(HashInput{Headers: get("/", "cookie: s="+value).Headers, Source: netip.Addr{}, Connection: c}, nil)
			if again != hash || len(more) != 0 {
				t.Errorf("%s: the cookie leads elsewhere: %x, %x", test.name, hash, again)
			}
		}
	}
}

func TestHashTerminalMakesNoFurtherCookie(t *testing.T) {
	ttl := time.Minute
	f := forwardOf(&xdsresource.RouteAction{Hash: []xdsresource.HashPolicy{
		{Header: header.KeyOf("x-user"), Terminal: true}, {Cookie: &xdsresource.HashCookie{Name: "s", TTL: &ttl}}}})
	if _, _, made := f.Hash(HashInput{Headers: get("/", "x-user: a").Headers, Source: netip.Addr{}, Connection: Connection{}}, nil); len(made) != 0 {
		t.Errorf("made %v", made)
	}
}

func TestHashHeaderRewrite(t *testing.T) {
	f := forwardOf(&xdsresource.RouteAction{Hash: []xdsresource.HashPolicy{
		{Header: header.KeyOf("x-user"), Rewrite: &xdsresource.RegexRewrite{Regex: regexp.MustCompile(`^([a-z]+)-\d+$`), Substitution: "${1}"}}}})
	var got []uint64
	for _, v := range []string{"ann-1", "ann-22", "ann", "bob-1", "ann-x"} {
		h, ok, _ := f.Hash(HashInput{Headers: get("/", "x-user: "+v).Headers, Source: netip.Addr{}, Connection: Connection{}}, nil)
		if !ok {
			t.Fatalf("%s: no hash", v)
		}
		got = append(got, h)
	}
	if got[0] != got[1] || got[0] != got[2] || got[0] == got[3] || got[0] == got[4] || slices.Contains(got, 0) {
		t.Errorf("%x", got)
	}
	if _, ok, _ := f.Hash(HashInput{Headers: get("/").Headers, Source: netip.Addr{}, Connection: Connection{}}, nil); ok {
		t.Error("a hash without the header")
	}
}

func TestHashFilterState(t *testing.T) {
	f := forwardOf(&xdsresource.RouteAction{Hash: []xdsresource.HashPolicy{{State: "k"}}})
	for _, test := range []struct {
		state State
		want  bool
	}{
		{oneState{"k", filterstate.HashableText("a")}, true},
		{oneState{"k", filterstate.Text("a")}, false}, // not made to be hashed
		{oneState{"k", nil}, false},
		{oneState{"other", filterstate.HashableText("a")}, false},
		{nil, false},
	} {
		hash, ok, _ := f.Hash(HashInput{Headers: get("/").Headers, State: test.state}, nil)
		if ok != test.want || ok && hash != lb.Hash([]byte("a")) {
			t.Errorf("%v: %x, %v", test.state, hash, ok)
		}
	}
}

// TestHashHeaderOfSeveralValues: their order means nothing, but where one ends does.
func TestHashHeaderOfSeveralValues(t *testing.T) {
	f := forwardOf(&xdsresource.RouteAction{Hash: []xdsresource.HashPolicy{{Header: header.KeyOf("x-user")}}})
	hash := func(headers ...string) uint64 {
		h, _, _ := f.Hash(HashInput{Headers: get("/", headers...).Headers}, nil)
		return h
	}
	ab, ba := hash("x-user: a", "x-user: b"), hash("x-user: b", "x-user: a")
	if ab != ba || ab == hash("x-user: a,b") || ab == hash("x-user: ab") || ab == hash("x-user: a") {
		t.Errorf("%x %x", ab, ba)
	}
}

// TestHashTerminalEndsWithAnEarlierHash: a terminal policy ends the list when there is a hash, its own or
// not.
func TestHashTerminalEndsWithAnEarlierHash(t *testing.T) {
	last := xdsresource.HashPolicy{Header: header.KeyOf(":method")}
	only := forwardOf(&xdsresource.RouteAction{Hash: []xdsresource.HashPolicy{{Header: header.KeyOf("x-user")}}})
	ends := forwardOf(&xdsresource.RouteAction{Hash: []xdsresource.HashPolicy{{Header: header.KeyOf("x-user")}, {Query: "q", Terminal: true}, last}})
	in := HashInput{Headers: get("/", "x-user: a").Headers}
	want, _, _ := only.Hash(in, nil)
	if got, ok, _ := ends.Hash(in, nil); !ok || got != want {
		t.Errorf("%x, want %x", got, want)
	}
	if _, ok, _ := ends.Hash(HashInput{Headers: get("/").Headers}, nil); !ok {
		t.Error("a terminal policy without a hash ended the list")
	}
}

func forwardOf(a *xdsresource.RouteAction) *Forward { return &Forward{RouteAction: a} }
