package route

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// The reference decides as the documentation of Envoy's route protos puts it, on strings,
// without regard to cost.

func refHost(cfg *xdsresource.RouteConfig, host string) *xdsresource.VirtualHost {
	host = strings.ToLower(host)
	var best *xdsresource.VirtualHost
	rank, length := 0, -1
	for _, v := range cfg.VirtualHosts {
		for _, d := range v.Domains {
			r := 0
			switch {
			case d == host:
				r = 4
			case d == "*":
				r = 1
			case strings.HasPrefix(d, "*") && strings.HasSuffix(host, d[1:]) && len(host) > len(d)-1:
				r = 3
			case strings.HasSuffix(d, "*") && strings.HasPrefix(host, d[:len(d)-1]) && len(host) > len(d)-1:
				r = 2
			}
			if r > rank || r > 0 && r == rank && len(d) > length {
				best, rank, length = v, r, len(d)
			}
		}
	}
	return best
}

func refString(m *xdsresource.StringMatch, v string) bool {
	w := m.Value
	if m.IgnoreCase {
		v, w = strings.ToLower(v), strings.ToLower(w)
	}
	switch m.Kind {
	case xdsresource.StringExact:
		return v == w
	case xdsresource.StringPrefix:
		return strings.HasPrefix(v, w)
	case xdsresource.StringSuffix:
		return strings.HasSuffix(v, w)
	case xdsresource.StringContains:
		return strings.Contains(v, w)
	}
	return m.Regex.MatchString(v)
}

func refHeader(m *xdsresource.HeaderMatcher, pairs []string) bool {
	var vs []string
	for _, p := range pairs {
		if n, v, _ := strings.Cut(p, ": "); n == m.Name {
			vs = append(vs, v)
		}
	}
	switch {
	case vs == nil && m.TreatMissingAsEmpty:
		vs = []string{""}
	case vs != nil && m.Name == "user-agent": // a header that is one for Envoy
		vs = []string{strings.Join(vs, ",")}
	}
	switch {
	case m.Present != nil:
		return ((vs != nil) == *m.Present) != m.Invert
	case vs == nil:
		return false
	case m.Range != nil:
		return m.Invert != slices.ContainsFunc(vs, func(v string) bool {
			n, err := strconv.ParseInt(v, 10, 64)
			return err == nil && n >= m.Range[0] && n < m.Range[1]
		})
	}
	return m.Invert != slices.ContainsFunc(vs, func(v string) bool { return refString(m.String, v) })
}

func refQuery(m *xdsresource.QueryMatcher, query string) bool {
	for kv := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(kv, "=")
		if k != m.Name || kv == "" {
			continue
		}
		if m.Present != nil {
			return *m.Present
		}
		return refString(m.String, v)
	}
	return m.Present != nil && !*m.Present
}

func refRoute(m *xdsresource.RouteMatch, path string, pairs []string, random uint64) bool {
	path, _, _ = strings.Cut(path, "#")
	p, q, _ := strings.Cut(path, "?")
	lp, lm := p, m.Path
	if m.CaseInsensitive {
		lp, lm = strings.ToLower(p), strings.ToLower(m.Path)
	}
	switch m.Kind {
	case xdsresource.PathPrefix:
		if !strings.HasPrefix(lp, lm) {
			return false
		}
	case xdsresource.PathExact:
		if lp != lm {
			return false
		}
	case xdsresource.PathRegex:
		if !m.Regex.MatchString(p) {
			return false
		}
	case xdsresource.PathSeparatedPrefix:
		if lp != lm && !strings.HasPrefix(lp, lm+"/") {
			return false
		}
	case xdsresource.PathConnect:
		return false
	}
	if m.Fraction != nil && random%uint64(m.Fraction.Denominator) >= uint64(m.Fraction.Numerator) {
		return false
	}
	for i := range m.Headers {
		if !refHeader(&m.Headers[i], pairs) {
			return false
		}
	}
	for i := range m.Query {
		if !refQuery(&m.Query[i], q) {
			return false
		}
	}
	return true
}

// gen makes tables and requests out of few words, so that they meet often.
type gen struct{ *rand.Rand }

func (g gen) of(words ...string) string { return words[g.IntN(len(words))] }

func (g gen) text() *xdsresource.StringMatch {
	m := &xdsresource.StringMatch{Kind: xdsresource.StringKind(g.IntN(5)), Value: g.of("a", "b", "ab", "A", "1", "", "a,b"), IgnoreCase: g.IntN(4) == 0}
	if m.Kind == xdsresource.StringRegex {
		m.Regex = regexp.MustCompile(`^(?:` + g.of("a.*", "[0-9]+", "b?", "a|b") + `)$`)
	}
	return m
}

func (g gen) match() xdsresource.RouteMatch {
	m := xdsresource.RouteMatch{Kind: xdsresource.PathKind(g.IntN(5)), Path: g.of("/", "/a", "/a/b", "/A", "/ab"), CaseInsensitive: g.IntN(4) == 0}
	if m.Kind == xdsresource.PathRegex {
		m.Regex = regexp.MustCompile(`^(?:` + g.of("/a.*", "/[ab]/?", "/.*b") + `)$`)
	}
	for range g.IntN(3) {
		h := xdsresource.HeaderMatcher{Name: g.of("x-a", "x-b", "user-agent"), Invert: g.IntN(3) == 0, TreatMissingAsEmpty: g.IntN(3) == 0}
		switch g.IntN(4) {
		case 0:
			h.Present = ptr(g.IntN(2) == 0)
		case 1:
			h.Range = &[2]int64{int64(g.IntN(3)) - 1, int64(g.IntN(3))}
		default:
			h.String = g.text()
		}
		m.Headers = append(m.Headers, h)
	}
	if g.IntN(4) == 0 {
		q := xdsresource.QueryMatcher{Name: g.of("q", "r")}
		if g.IntN(2) == 0 {
			q.Present = ptr(g.IntN(2) == 0)
		} else {
			q.String = g.text()
		}
		m.Query = append(m.Query, q)
	}
	if g.IntN(5) == 0 {
		m.Fraction = &xdsresource.FractionalPercent{Numerator: g.Uint32N(101), Denominator: 100}
	}
	return m
}

func (g gen) table() *xdsresource.RouteConfig {
	cfg := &xdsresource.RouteConfig{Name: "g"}
	domains := []string{"*", "a.test", "*.test", "*.a.test", "a.*", "a.te*", "b.test:80", "*test"}
	g.Shuffle(len(domains), func(i, j int) { domains[i], domains[j] = domains[j], domains[i] })
	for len(domains) > 0 && (len(cfg.VirtualHosts) == 0 || g.IntN(4) > 0) {
		n := 1 + g.IntN(min(3, len(domains)))
		v := &xdsresource.VirtualHost{Name: fmt.Sprint("v", len(cfg.VirtualHosts)), Domains: domains[:n]}
		domains = domains[n:]
		for range g.IntN(6) {
			v.Routes = append(v.Routes, &xdsresource.Route{Name: fmt.Sprint(v.Name, "-", len(v.Routes)), Match: g.match(), Forward: to("c")})
		}
		cfg.VirtualHosts = append(cfg.VirtualHosts, v)
	}
	return cfg
}

func (g gen) request() (host, path string, pairs []string) {
	host = g.of("a.test", "A.Test", "b.a.test", "a.org", "b.test:80", "b.test", "test", "x", "")
	path = g.of("/", "/a", "/a/b", "/A/b", "/ab", "/a/") + g.of("", "", "?q=a", "?q=%61b&r", "?r=1&q", "?q=b&q=a", "#f?q=a", "?%71=1")
	for range g.IntN(4) {
		pairs = append(pairs, g.of("x-a", "x-b", "user-agent")+": "+g.of("a", "b", "ab", "1", "", "0"))
	}
	return host, path, pairs
}

// check makes a table and requests, and fails when the reference decides otherwise.
func check(t *testing.T, of string, source rand.Source) {
	t.Helper()
	g := gen{rand.New(source)}
	cfg := g.table()
	tbl := compile(t, cfg)
	for range 20 {
		host, path, pairs := g.request()
		random := g.Uint64()
		want := ""
		if v := refHost(cfg, host); v != nil {
			for _, r := range v.Routes {
				if refRoute(&r.Match, path, pairs, random) {
					want = r.Name
					break
				}
			}
		}
		r := &Request{Headers: request("GET", host, path, pairs...), Random: random}
		got := ""
		e := tbl.Match(r)
		if e != nil {
			got = e.Name
		}
		if got != want {
			t.Fatalf("%s: %s%s %q: route %q, reference %q\n%s", of, host, path, pairs, got, want, tbl.Explain(r))
		}
		if tbl.Explain(r).Entry != e {
			t.Fatalf("%s: Explain and Match disagree", of)
		}
	}
}

func TestAgainstReference(t *testing.T) {
	for seed := range uint64(3000) {
		check(t, fmt.Sprint("seed ", seed), rand.NewPCG(seed, 99))
	}
}

// choices lets a fuzzer steer what is made at random: each byte is one choice, and when there are no
// more, a generator goes on.
type choices struct {
	bytes []byte
	then  rand.Source
}

func chosen(b []byte) *choices { return &choices{b, rand.NewPCG(uint64(len(b)), 99)} }

func (c *choices) Uint64() uint64 {
	if len(c.bytes) == 0 {
		return c.then.Uint64()
	}
	b := c.bytes[0]
	c.bytes = c.bytes[1:]
	return uint64(b) * 0x0101010101010101 // rand.Rand may look at any of the bits
}

// addChoices gives a fuzz target some to begin with.
func addChoices(f *testing.F) {
	for i := range byte(20) {
		b := make([]byte, 300)
		_, _ = rand.NewChaCha8([32]byte{i}).Read(b)
		f.Add(b)
	}
}

func FuzzAgainstReference(f *testing.F) {
	addChoices(f)
	f.Fuzz(func(t *testing.T, b []byte) { check(t, fmt.Sprintf("choices %x", b), chosen(b)) })
}

// FuzzRequest: no request makes the decision panic, whatever its bytes.
func FuzzRequest(f *testing.F) {
	f.Add("a.test", "/a?q=%6", "x-a", "1")
	f.Add("[::1]:80", "#", "cookie", `s="`)
	g := gen{rand.New(rand.NewPCG(1, 99))}
	cfg := g.table()
	tbl, err := Compile(cfg)
	if err != nil {
		f.Fatal(err)
	}
	fwd := forwardOf(&xdsresource.RouteAction{Hash: []xdsresource.HashPolicy{{Cookie: &xdsresource.HashCookie{Name: "s"}}, {Query: "q"}}})
	red := one(f, &xdsresource.Route{Match: xdsresource.RouteMatch{Path: "/a"}, Redirect: &xdsresource.RedirectAction{HTTPS: true, HasPrefixRewrite: true, StripQuery: true}}).vhosts[0].Entries[0]
	f.Fuzz(func(t *testing.T, host, path, name, value string) {
		h := &header.Map{}
		h.AddString(header.Authority, host)
		h.AddString(header.Path, path)
		h.AddName(strings.ToLower(name), []byte(value))
		r := &Request{Headers: h}
		if tbl.Match(r) != tbl.Explain(r).Entry {
			t.Fatal("Explain and Match disagree")
		}
		fwd.Hash(HashInput{Headers: h, Source: netip.Addr{}, Connection: Connection{}}, nil)
		red.AppendLocation(nil, h, nil)
	})
}
