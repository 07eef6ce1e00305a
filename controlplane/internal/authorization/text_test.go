package authorization

//lint:file-ignore SA1019 Istio sends metadata, not sourced_metadata, which Envoys before 1.33 do not know.

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// matches is what a proxy makes of a string matcher.
func matches(m *matcherv3.StringMatcher, s string) bool {
	fold := func(s string) string {
		if m.IgnoreCase {
			return strings.ToLower(s)
		}
		return s
	}
	switch p := m.MatchPattern.(type) {
	case *matcherv3.StringMatcher_Exact:
		return fold(s) == fold(p.Exact)
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(fold(s), fold(p.Prefix))
	case *matcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(fold(s), fold(p.Suffix))
	case *matcherv3.StringMatcher_SafeRegex:
		return regexp.MustCompile("^(?:" + p.SafeRegex.Regex + ")$").MatchString(s)
	}
	panic("a matcher that is not known")
}

// means is what Istio says that a value stands for.
func means(v, s string) bool {
	switch {
	case v == "*":
		return s != ""
	case strings.HasPrefix(v, "*"):
		return strings.HasSuffix(s, v[1:])
	case strings.HasSuffix(v, "*"):
		return strings.HasPrefix(s, v[:len(v)-1])
	}
	return s == v
}

// TestRequestPrincipal holds that a value is compared with "issuer/subject" as one text, wherever slashes and stars are.
func TestRequestPrincipal(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(most int) string {
		b := make([]byte, r.IntN(most+1))
		for i := range b {
			b[i] = "ab/"[r.IntN(3)]
		}
		return string(b)
	}
	same, other := 0, 0
	for range 200_000 {
		iss, sub, v := word(4), word(3), word(5)
		switch r.IntN(4) {
		case 0:
			v = "*" + v
		case 1:
			v += "*"
		case 2:
			v = iss + "/" + sub
		}
		want := iss != "" && sub != "" && means(v, iss+"/"+sub)
		got := false
		for _, p := range requestPrincipal(v) {
			ids := p.GetAndIds().GetIds()
			got = got || claimMatches(ids[0], "iss", iss) && claimMatches(ids[1], "sub", sub)
		}
		if got != want {
			t.Fatalf("issuer %q, subject %q: %q matches: %v, want %v", iss, sub, v, got, want)
		}
		if want {
			same++
		} else {
			other++
		}
	}
	if same < 10_000 || other < 10_000 {
		t.Errorf("%d matches and %d others are too few to say much", same, other)
	}
}

func claimMatches(p *rbacv3.Principal, claim, value string) bool {
	m := p.GetMetadata()
	if m.GetFilter() != jwtMetadata || len(m.Path) != 2 || m.Path[0].GetKey() != "payload" || m.Path[1].GetKey() != claim {
		panic("not the claim " + claim)
	}
	return value != "" && matches(m.Value.GetStringMatch(), value)
}

func TestHosts(t *testing.T) {
	for _, c := range []struct {
		value     string
		yes, nope []string
	}{
		{"a.example.com", []string{"a.example.com", "A.Example.COM", "a.example.com.", "a.example.com:80", "a.example.com.:80"},
			[]string{"a.example.com.org", "b.a.example.com", "aXexample.com", ""}},
		{"a.example.com:80", []string{"a.example.com:80", "A.example.com:80"}, []string{"a.example.com", "a.example.com:8080"}},
		{"*.example.com", []string{"a.example.com", "a.b.EXAMPLE.com", "a.example.com.", "a.example.com:1", ".example.com"}, []string{"example.com", "a.example.com.org", "a.exampleXcom"}},
		{"a.*", []string{"a.b", "A.b:80"}, []string{"b.a."}},
		{"*", []string{"a", "a:1"}, []string{""}},
		{"[::1]", []string{"[::1]", "[::1]:80"}, []string{"[::11]", "[::1"}},
		{"[::1]:80", []string{"[::1]:80"}, []string{"[::1]", "[::1]:8080"}},
	} {
		is := func(host string) bool {
			for _, m := range hostText(c.value) {
				if matches(m, host) {
					return true
				}
			}
			return false
		}
		for _, h := range c.yes {
			if !is(h) {
				t.Errorf("%q does not match %q", c.value, h)
			}
		}
		for _, h := range c.nope {
			if is(h) {
				t.Errorf("%q matches %q", c.value, h)
			}
		}
	}
}

func TestAttributeKeys(t *testing.T) {
	g := &generator{namespace: "shop", trustDomains: []string{"example.org"}}
	for _, key := range []string{"source.ip", "remote.ip", "source.namespace", "source.principal", "source.serviceAccount", "destination.ip", "destination.port",
		"connection.sni", "request.auth.principal", "request.auth.audiences", "request.auth.presenter", "request.headers[x-a]", "request.auth.claims[a]",
		"request.auth.claims[a][b]", "experimental.envoy.filters.network.mysql_proxy[db.table]"} {
		if _, ok := g.attribute(key); !ok {
			t.Errorf("%s is not known", key)
		}
	}
	for _, key := range []string{"", "source.port", "request.headers", "request.headers[]", "request.headers[a][b]", "request.auth.claims[a", "request.auth.claims[a][]", "experimental.x"} {
		if _, ok := g.attribute(key); ok {
			t.Errorf("%q is an attribute", key)
		}
	}
}
