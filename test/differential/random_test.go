package differential

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

var (
	seedFlag   = flag.Uint64("seed", 1, "seed of the random route tables")
	tablesFlag = flag.Int("tables", 24, "number of random route tables")
	shownFlag  = flag.Int("shown", 5, "number of decisions that are shown when the two differ")
)

// decisions is how many requests are routed by each table.
const decisions = 500

// TestRandomRouteTables has both proxies route random requests by random valid tables. Every
// route answers with its own name in a header, so an answer tells the decision.
func TestRandomRouteTables(t *testing.T) {
	g := newGenerator()
	compareDecisions(t, g, *tablesFlag, func(name string) any { return g.listener(name, g.answers) })
}

// TestRandomActions is the same for what routes do beyond that: redirects, rewrites, and the choice of a
// cluster and of a host, which tells what it has got.
func TestRandomActions(t *testing.T) {
	g := newGenerator()
	compareDecisions(t, g, *tablesFlag/2, func(name string) any {
		l := g.listener(name, g.action)
		// Whether a route adds its headers to an answer that the path gets depends in Envoy on whether anything has asked for the
		// route before.
		if hcm := l.(object)["hcm"].(object); hcm["path_with_escaped_slashes_action"] != "KEEP_UNCHANGED" {
			hcm["path_with_escaped_slashes_action"] = "UNESCAPE_AND_FORWARD"
		}
		return l
	})
}

func newGenerator() *generator { return &generator{r: rand.New(rand.NewPCG(*seedFlag, 0))} }

// compareDecisions makes tables and has both proxies answer the same requests to each.
func compareDecisions(t *testing.T, g *generator, tables int, table func(name string) any) {
	bins := needPrograms(t)
	certs, err := newCertificates(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var listeners []any
	for i := range tables {
		listeners = append(listeners, table(fmt.Sprintf("table-%d", i)))
	}
	config, err := yaml.Marshal(map[string]any{"listeners": listeners, "clusters": g.clusters()})
	if err != nil {
		t.Fatal(err)
	}
	envoy := startSide(t, "envoy", bins[0], string(config), certs)
	ours := startSide(t, "lateen", bins[1], string(config), certs)
	total, wrong := 0, 0
	kinds := map[string]int{}
	for i := range tables {
		name := fmt.Sprintf("table-%d", i)
		requests := make([]string, decisions)
		for j := range requests {
			requests[j] = g.request()
		}
		var got [2][]string
		var wg sync.WaitGroup
		for k, s := range []*side{envoy, ours} {
			wg.Go(func() {
				var err error
				if got[k], err = askAll(fmt.Sprintf("127.0.0.1:%d", s.place.ports[name]), requests); err != nil {
					t.Errorf("%s, %s: %v", s.name, name, err)
				}
				n := s.normaliser()
				for j := range got[k] {
					got[k][j] = n.text(got[k][j])
				}
			})
		}
		wg.Wait()
		if got[0] == nil || got[1] == nil {
			t.Fatalf("seed %d", *seedFlag)
		}
		for j, r := range requests {
			total++
			kinds[got[0][j][:3]]++
			if got[0][j] == got[1][j] {
				continue
			}
			if wrong++; wrong <= *shownFlag {
				t.Errorf("%s:\n%s  Envoy:  %s\n  Lateen: %s\n%s", name, r, got[0][j], got[1][j], describe(listeners[i], got[0][j], got[1][j]))
			}
		}
	}
	t.Logf("%d decisions, by their status: %v", total, kinds)
	if wrong > 0 {
		t.Errorf("%d of %d decisions differ; seed %d", wrong, total, *seedFlag)
	}
	if kinds["200"] < total/8 || kinds["200"] == total {
		t.Errorf("%d of %d requests found a route that serves them: the tables do not decide much", kinds["200"], total)
	}
}

// askAll sends requests and returns what came of each: status, route, and what else there is to tell. One connection carries them, one after
// the other (Envoy drops connections on which several requests wait that it answers itself); an
// answer that ends it costs a new one.
func askAll(addr string, requests []string) ([]string, error) {
	var out []string
	for len(out) < len(requests) {
		answers, err := oneConnection(addr, requests[len(out):])
		out = append(out, answers...)
		if err != nil {
			return nil, fmt.Errorf("%w, to\n%s", err, requests[len(out)])
		}
	}
	return out, nil
}

// oneConnection stops behind an answer that ends the connection.
func oneConnection(addr string, requests []string) ([]string, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	in := bufio.NewReader(c)
	var out []string
	for _, r := range requests {
		if _, err := c.Write([]byte(r)); err != nil {
			return out, err
		}
		head, err := readHead(in)
		if err != nil {
			return out, err
		}
		m := parseHead(head)
		if !readBody(in, &m, false) {
			return out, fmt.Errorf("the answer is cut off")
		}
		text := m.status() + " " + m.header("x-route")
		for _, h := range []string{"location", "x-origin", "x-saw"} {
			if v := m.header(h); v != "" {
				text += " " + h + ": " + v
			}
		}
		out = append(out, text)
		if m.header("connection") == "close" {
			break
		}
	}
	return out, nil
}

// describe shows the routes that two answers name.
func describe(listener any, answers ...string) string {
	var b strings.Builder
	hosts := listener.(map[string]any)["virtual_hosts"].([]any)
	for _, a := range answers {
		words := append(strings.Fields(a), "", "")
		for _, h := range hosts {
			h := h.(map[string]any)
			list, _ := h["routes"].([]any)
			if list == nil {
				text, _ := yaml.Marshal(object{"domains": h["domains"], "matcher": h["matcher"]})
				if strings.Contains(string(text), "value: "+words[1]+"\n") {
					b.Write(text)
				}
			}
			for _, r := range list {
				if r := r.(map[string]any); r["name"] == words[1] {
					text, _ := yaml.Marshal(map[string]any{"domains": h["domains"], "route": r})
					fmt.Fprintf(&b, "%s:\n%s", words[1], text)
				}
			}
		}
	}
	return b.String()
}

// generator makes tables and requests out of one small set of words, so that they meet.
type generator struct{ r *rand.Rand }

func (g *generator) chance(percent int) bool { return g.r.IntN(100) < percent }

func pick[T any](g *generator, list ...T) T { return list[g.r.IntN(len(list))] }

type object = map[string]any

// listener is a table whose routes do what does makes up.
func (g *generator) listener(name string, does func() object) any {
	var hosts []any
	taken := map[string]bool{}
	for i := range 2 + g.r.IntN(8) {
		var domains []string
		for range 1 + g.r.IntN(3) {
			d := g.domain()
			if key := strings.ToLower(d); !taken[key] {
				taken[key] = true
				domains = append(domains, d)
			}
		}
		if domains == nil {
			continue
		}
		host := object{"name": fmt.Sprintf("host-%d", i), "domains": domains}
		n := 0
		route := func() object {
			n++
			text := fmt.Sprintf("%s/%d/%d", name, i, n)
			match, action := g.match(), does()
			if match.(object)["path_match_policy"] != nil { // there is no prefix, and both proxies say so
				for _, kind := range []string{"redirect", "route"} {
					if a, ok := action[kind].(object); ok {
						delete(a, "prefix_rewrite")
					}
				}
			}
			return merge(object{
				"name": text, "match": match,
				"response_headers_to_add": []any{object{"header": object{"key": "x-route", "value": text}}},
			}, action)
		}
		if g.chance(30) {
			host["matcher"] = g.matcher(route, 3)
		} else {
			var routes []any
			for range 1 + g.r.IntN(12) {
				routes = append(routes, route())
			}
			host["routes"] = routes
		}
		hosts = append(hosts, host)
	}
	table := object{"validate_clusters": false} // a route may lead nowhere
	if g.chance(30) {
		table["ignore_port_in_host_matching"] = true
	}
	return object{
		"name": name, "virtual_hosts": hosts, "route_config": table,
		"hcm": g.manager(),
	}
}

func (g *generator) label() string { return pick(g, "a", "b", "ab", "web", "Api", "x-1") }

func (g *generator) domain() string {
	switch g.r.IntN(10) {
	case 0:
		return "*"
	case 1, 2:
		return "*." + g.label() + ".example"
	case 3:
		return "*-" + g.label() + ".example"
	case 4, 5:
		return g.label() + ".*"
	case 6:
		return g.label() + ".example:8080"
	}
	return g.label() + "." + pick(g, "example", "a.example", "b.example", "test")
}

func (g *generator) segment() string {
	return pick(g, "a", "b", "ab", "A", "v1", "v2", "x.y", "%61", "a%20b", "1", "22", "a=b", "a%2fb")
}

func (g *generator) path(max int) string {
	var b strings.Builder
	for range g.r.IntN(max + 1) {
		b.WriteString("/" + g.segment())
	}
	if b.Len() == 0 || g.chance(15) {
		b.WriteString("/")
	}
	return b.String()
}

func (g *generator) match() any {
	m := object{}
	switch g.r.IntN(11) {
	case 9, 10:
		m["path_match_policy"] = object{"name": "envoy.path.match.uri_template.uri_template_matcher", "typed_config": object{
			"@type":         "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
			"path_template": g.template(),
		}}
	case 0, 1, 2:
		m["prefix"] = g.path(2)
	case 3, 4:
		m["path"] = g.path(3)
	case 5, 6:
		m["path_separated_prefix"] = "/" + g.segment() + pick(g, "", "/"+g.segment())
	default:
		m["safe_regex"] = object{"regex": g.pathRegex()}
	}
	if m["safe_regex"] == nil && m["path_match_policy"] == nil && g.chance(25) {
		m["case_sensitive"] = g.chance(30)
	}
	if g.chance(45) {
		var list []any
		for range 1 + g.r.IntN(2) {
			list = append(list, g.headerMatch())
		}
		m["headers"] = list
	}
	if g.chance(25) {
		m["query_parameters"] = []any{g.queryMatch()}
	}
	if g.chance(10) {
		m["cookies"] = []any{g.cookieMatch()}
	}
	if g.chance(5) {
		m["grpc"] = object{}
	}
	if g.chance(10) {
		m["runtime_fraction"] = object{"default_value": object{"numerator": pick(g, 0, 100), "denominator": "HUNDRED"}}
	}
	return m
}

func (g *generator) pathRegex() string {
	return pick(g, "/[ab]+", "/.*", "/a/.*", "/(a|b)/[^/]*", "/v[0-9]/?.*", "(?i)/a.*", "/\\d+", "/[^/]+/[^/]+", "/a(/.*)?", "/%61.*")
}

// template is a path template: segments, and at most one "**", which is the last that varies.
func (g *generator) template() string {
	var b strings.Builder
	globs := false
	for i := range 1 + g.r.IntN(3) {
		b.WriteString("/")
		name := fmt.Sprintf("v%d", i)
		switch n := g.r.IntN(8); {
		case n < 2 || globs:
			b.WriteString(g.segment())
		case n == 2:
			globs = true
			b.WriteString(pick(g, "**", "{"+name+"=**}", "{"+name+"=a/**}"))
		case n == 3:
			b.WriteString(pick(g, "{"+name+"}", "{"+name+"=*}", "{"+name+"=a/*}", "{"+name+"=ab}"))
		case n == 4:
			b.WriteString(pick(g, "a{"+name+"}", "{"+name+"}b", "v{"+name+"}"))
		default:
			b.WriteString("*")
		}
	}
	if b.String()[b.Len()-1] == '*' && g.chance(20) {
		b.WriteString(pick(g, "b", ".y", "2"))
	} else if g.chance(15) {
		b.WriteString("/")
	}
	return b.String()
}

func (g *generator) headerName() string {
	return pick(g, "x-a", "x-b", "x-n", "user-agent", ":method", ":authority", ":path", "cookie", "content-type", "x-missing", ":scheme", "x-forwarded-proto")
}

func (g *generator) value() string {
	return pick(g, "", "a", "b", "ab", "abc", "A", "5", "10", "-3", "GET", "POST", "http", "a,b", "k=v")
}

func (g *generator) stringMatch() object {
	m := object{}
	switch g.r.IntN(6) {
	case 0, 1:
		m["exact"] = g.value()
	case 2:
		m["prefix"] = pick(g, "a", "A", "G", "1")
	case 3:
		m["suffix"] = pick(g, "b", "C", "T", "0")
	case 4:
		m["contains"] = pick(g, "b", "B", "E", ",")
	default:
		return object{"safe_regex": object{"regex": pick(g, "a.*", "[a-z]+", ".*", "[0-9]+", "(GET|POST)", "b?", "(?i)AB?")}}
	}
	if g.chance(25) {
		m["ignore_case"] = true
	}
	return m
}

func (g *generator) headerMatch() any {
	m := object{"name": g.headerName()}
	switch g.r.IntN(9) {
	case 0:
		m["present_match"] = g.chance(70)
	case 1:
		start := g.r.IntN(8) - 4
		m["range_match"] = object{"start": start, "end": start + 1 + g.r.IntN(10)}
	case 2: // presence by the name alone
	case 3: // the older ways
		switch g.r.IntN(5) {
		case 0:
			m["exact_match"] = pick(g, "a", "GET", "b", "ab")
		case 1:
			m["prefix_match"] = pick(g, "a", "G", "/")
		case 2:
			m["suffix_match"] = pick(g, "b", "T", "example")
		case 3:
			m["contains_match"] = pick(g, "b", "E", ",")
		case 4:
			m["safe_regex_match"] = object{"regex": pick(g, "a.*", "[a-z]+", "(GET|POST)")}
		}
	default:
		m["string_match"] = g.stringMatch()
	}
	if g.chance(25) {
		m["invert_match"] = true
	}
	if g.chance(20) {
		m["treat_missing_header_as_empty"] = true
	}
	return m
}

func (g *generator) queryMatch() any {
	m := object{"name": pick(g, "q", "r", "Q", "a b")}
	if g.chance(40) {
		m["present_match"] = g.chance(75)
	} else {
		m["string_match"] = g.stringMatch()
	}
	return m
}

func (g *generator) cookieMatch() any {
	m := object{"name": pick(g, "k", "session", "K"), "string_match": g.stringMatch()}
	if g.chance(25) {
		m["invert_match"] = true
	}
	return m
}

// request makes a request. Its headers are those that the tables ask for.
func (g *generator) request() string {
	var b strings.Builder
	method := pick(g, "GET", "GET", "GET", "POST", "PUT")
	path := g.path(3)
	if g.chance(10) && path != "/" { // slashes alone are merged differently; docs/envoy-differences.md
		path += pick(g, "/", "//", "/./", "/../a", "//a")
	}
	if g.chance(40) {
		path += "?" + pick(g, "q=a", "q=", "q", "q=b&r=a", "r=1&q=ab", "Q=A", "a%20b=1", "q=a&q=b", "&q=a", "q==a", "x")
	}
	host := g.label() + "." + pick(g, "example", "example", "a.example", "b.example", "test")
	if g.chance(15) {
		host = strings.ToUpper(host)
	}
	if g.chance(20) {
		host = pick(g, "x-", "deep.") + host
	}
	if g.chance(20) {
		host += pick(g, ":8080", ":80", ".", ".:80")
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	for _, name := range []string{"X-A", "x-b", "X-N", "User-Agent", "Cookie"} {
		for range 2 {
			if g.chance(35) {
				fmt.Fprintf(&b, "%s: %s\r\n", name, g.value())
			}
			if name != "X-A" && name != "x-b" {
				break
			}
		}
	}
	if g.chance(25) {
		fmt.Fprintf(&b, "Cookie: %s\r\n", pick(g, "k=a", "k=b; session=ab", "session=a; k=A", "K=a", "k=", "k", "other=1; k=a", "k=\"a\""))
	}
	if g.chance(60) {
		fmt.Fprintf(&b, "X-Cluster: %s\r\n", pick(g, "ring", "maglev", "murmur", "missing", ""))
	}
	if g.chance(20) {
		fmt.Fprintf(&b, "X-Forwarded-Proto: %s\r\n", pick(g, "https", "http"))
	}
	if g.chance(15) {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", pick(g, "application/grpc", "application/grpc+proto", "application/grpcx", "text/plain"))
	}
	if method != "GET" {
		b.WriteString("Content-Length: 0\r\n")
	}
	b.WriteString("\r\n")
	return b.String()
}
