package contract

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"sigs.k8s.io/yaml"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testCase is a request with what must come of it. Empty expectations are not checked, but for the status, which is always named.
type testCase struct {
	Name string `json:"name"`
	// From is "gateway" (the default) or "mesh": an application, whose sidecar is asked as an explicit proxy.
	From    string            `json:"from"`
	Request string            `json:"request"` // METHOD URL
	Headers map[string]string `json:"headers"`
	Times   int               `json:"times"` // how often; default once

	Status   int               `json:"status"`
	Host     string            `json:"host"`    // the application that answered
	Cluster  string            `json:"cluster"` // as in the access log
	Route    string            `json:"route"`
	Flags    string            `json:"flags"`
	Location string            `json:"location"`
	Seen     map[string]string `json:"seen"`     // what the application saw: "path", or a header
	Response map[string]string `json:"response"` // headers of the answer
	Body     string            `json:"body"`     // the whole body
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*/cases.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join(dir, "cases.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			var cases []testCase
			if err := yaml.UnmarshalStrict(raw, &cases); err != nil {
				t.Fatal(err)
			}
			m := startMesh(t, dir)
			// All requests first, then one wait for the access log, which is written in batches.
			got := make([][]answer, len(cases))
			for i, c := range cases {
				for n := range max(c.Times, 1) {
					got[i] = append(got[i], m.send(t, c, fmt.Sprintf("%d-%d", i, n)))
				}
			}
			log := m.logged(t, got)
			for i, c := range cases {
				t.Run(c.Name, func(t *testing.T) {
					for _, a := range got[i] {
						c.check(t, a, log[a.id])
					}
				})
			}
		})
	}
}

// answer is what came back for one request.
type answer struct {
	id   string
	resp *http.Response
	body string
}

func (c *testCase) check(t *testing.T, a answer, log entry) {
	if a.resp.StatusCode != c.Status {
		t.Errorf("status %d, want %d; body %q", a.resp.StatusCode, c.Status, a.body)
	}
	if got := a.resp.Header.Get("x-app"); c.Host != "" && got != c.Host {
		t.Errorf("answered by %q, want %q", got, c.Host)
	}
	if got := a.resp.Header.Get("location"); got != c.Location {
		t.Errorf("location %q, want %q", got, c.Location)
	}
	if c.Body != "" && a.body != c.Body {
		t.Errorf("body %q, want %q", a.body, c.Body)
	}
	for name, want := range c.Response {
		if got := a.resp.Header.Get(name); got != want {
			t.Errorf("response header %s is %q, want %q", name, got, want)
		}
	}
	for name, want := range c.Seen {
		if got := a.resp.Header.Get("x-seen-" + name); got != want {
			t.Errorf("the application saw %s %q, want %q", name, got, want)
		}
	}
	for _, f := range []struct{ what, got, want string }{
		{"cluster", log.cluster, c.Cluster}, {"route", log.route, c.Route}, {"flags", log.flags, c.Flags},
	} {
		if f.want != "" && f.got != f.want {
			t.Errorf("%s %q, want %q", f.what, f.got, f.want)
		}
	}
}

// send makes the request of a case. id travels in a header that the access log prints.
func (m *mesh) send(t *testing.T, c testCase, id string) answer {
	t.Helper()
	method, target, ok := strings.Cut(c.Request, " ")
	if !ok {
		t.Fatalf("request %q is not METHOD URL", c.Request)
	}
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	host := u.Host
	switch c.From {
	case "", "gateway":
		u.Host = m.gateway
	case "mesh":
		transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: m.sidecar})
	default:
		t.Fatalf("from %q is neither gateway nor mesh", c.From)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, u.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for k, v := range c.Headers {
		req.Header.Set(k, v)
	}
	req.Header.Set("x-case", id)
	client := &http.Client{
		Transport: transport, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s: %s: %v", c.Name, c.Request, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{id, resp, string(body)}
}
