package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/pkg/runfile"
)

const bookinfoDir = "../../samples/bookinfo"

// bookinfoMesh is `lateen up samples/bookinfo`.
func bookinfoMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{bin: shared.bin, state: filepath.Join(t.TempDir(), "state"), client: newClient()}
	var err error
	if m.port, err = freePort(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.client.CloseIdleConnections)
	t.Cleanup(func() { m.must(t, "up", "stop") })
	m.must(t, "up", bookinfoDir, "--detach", "--gateway-port", strconv.Itoa(m.port))
	if m.run, err = runfile.Read(m.state); err != nil {
		t.Fatal(err)
	}
	return m
}

// step applies files of samples/bookinfo, and returns when every proxy serves them.
func (m *mesh) step(t *testing.T, files ...string) string {
	t.Helper()
	args := []string{"apply", "--wait"}
	for _, f := range files {
		args = append(args, "-f", filepath.Join(bookinfoDir, f))
	}
	return m.must(t, args...)
}

// O1: Istio's first walk, without Kubernetes: install Bookinfo, ask for the page from inside, expose it by the Gateway API, put it under load, and
// look at the graph.
func TestBookinfo(t *testing.T) {
	m := bookinfoMesh(t)

	t.Run("productpage from the ratings pod", func(t *testing.T) {
		out := m.must(t, "exec", "deploy/ratings-v1", "-c", "ratings", "--", m.bin, "--state-dir", m.state, "version")
		if out == "" {
			t.Error("a command beside an application printed nothing")
		}
		// As `curl -sS productpage:9080/productpage` does with the application's HTTP_PROXY, which not every machine that tests run on has.
		cmd := []string{"exec", "deploy/ratings-v1", "-c", "ratings", "--", "env"}
		proxy := regexp.MustCompile(`(?m)^http_proxy=http://(\S+)$`).FindStringSubmatch(m.must(t, cmd...))
		if proxy == nil {
			t.Fatal("the application has no way into the mesh")
		}
		a, err := fetch(proxied(t, proxy[1]), "http://productpage:9080/productpage", "")
		if err != nil || a.code != http.StatusOK || !strings.Contains(a.body, "<title>Simple Bookstore App</title>") {
			t.Errorf("%+v %v", a, err)
		}
	})

	t.Run("the Gateway API exposes it", func(t *testing.T) {
		if a, err := m.get("localhost", "/productpage"); err == nil {
			t.Errorf("before anything is exposed: %d", a.code)
		}
		m.step(t, "gateway-api/bookinfo-gateway.yaml")
		for path, want := range map[string]int{"/productpage": 200, "/api/v1/products": 200, "/api/v1/products/0/reviews": 200, "/logout": 302, "/other": 404, "/productpage/x": 404} {
			client := *m.client
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			a, err := fetch(&client, "http://127.0.0.1:"+strconv.Itoa(m.port)+path, "localhost")
			if err != nil || a.code != want {
				t.Errorf("%s: %d %v, want %d", path, a.code, err, want)
			}
		}
		table := regexp.MustCompile(`(?m)^NAME +CLASS +ADDRESS +PROGRAMMED +AGE\nbookinfo-gateway +istio +\S+\.svc\.cluster\.local +True +\d+s$`)
		if out := m.must(t, "get", "gateway"); !table.MatchString(out) {
			t.Errorf("lateen get gateway:\n%s", out)
		}
		if out := m.must(t, "get", "httproute", "bookinfo", "-o", "yaml"); !strings.Contains(out, "message: Route was valid") || !strings.Contains(out, "message: All references resolved") {
			t.Errorf("lateen get httproute:\n%s", out)
		}
	})

	const loaded = 1000
	t.Run("a thousand requests", func(t *testing.T) {
		served := regexp.MustCompile(`Reviews served by: <u>(reviews-v\d-1)</u>`)
		var mu sync.Mutex
		by := map[string]int{}
		var failures []string
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for range loaded / 8 {
					a, err := m.get("localhost", "/productpage")
					found := served.FindStringSubmatch(a.body)
					mu.Lock()
					if err != nil || a.code != http.StatusOK || found == nil || strings.Contains(a.body, "Sorry") || strings.Contains(a.body, "unavailable") {
						failures = append(failures, fmt.Sprintf("%d %.300s %v", a.code, a.body, err))
					} else {
						by[found[1]]++
					}
					mu.Unlock()
				}
			})
		}
		group.Wait()
		if len(failures) > 0 {
			t.Errorf("%d of %d failed, the first: %s", len(failures), loaded, failures[0])
		}
		for _, v := range []string{"reviews-v1-1", "reviews-v2-1", "reviews-v3-1"} {
			if by[v] < loaded/10 {
				t.Errorf("%s served %d pages of %d; all: %v", v, by[v], loaded, by)
			}
		}
	})

	t.Run("the graph", func(t *testing.T) { m.checkGraph(t, loaded) })

	t.Run("Istio's tasks", func(t *testing.T) { m.walkTasks(t) })
}

// graphEdge is one of `lateen graph -o json`.
type graphEdge struct {
	Source      struct{ Name, Namespace string }
	Destination struct{ Name, Namespace string }
	Service     string
	Protocol    string
	Requests    float64
	Errors      float64
	Security    string
}

// checkGraph finds in what the proxies count the edges that Kiali draws, with its labels.
func (m *mesh) checkGraph(t *testing.T, atLeast float64) {
	t.Helper()
	want := []string{
		"istio-ingressgateway.istio-system -> productpage-v1.default (productpage)",
		"productpage-v1.default -> details-v1.default (details)",
		"productpage-v1.default -> reviews-v1.default (reviews)",
		"productpage-v1.default -> reviews-v2.default (reviews)",
		"productpage-v1.default -> reviews-v3.default (reviews)",
		"ratings-v1.default -> productpage-v1.default (productpage)",
		"reviews-v2.default -> ratings-v1.default (ratings)",
		"reviews-v3.default -> ratings-v1.default (ratings)",
	}
	var edges []graphEdge
	eventually(t, settleTime, func() error { // what a request was counted as is seen a moment after it has ended
		edges = nil
		if err := json.Unmarshal([]byte(m.must(t, "graph", "-o", "json")), &edges); err != nil {
			return err
		}
		var got []string
		for _, e := range edges {
			got = append(got, fmt.Sprintf("%s.%s -> %s.%s (%s)", e.Source.Name, e.Source.Namespace, e.Destination.Name, e.Destination.Namespace, e.Service))
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				return errors.New("missing: " + w + "; there are: " + strings.Join(got, ", "))
			}
		}
		if e := edges[slices.Index(got, want[0])]; e.Requests < atLeast {
			return fmt.Errorf("%v requests through the gateway, want %v", e.Requests, atLeast)
		}
		return nil
	})
	for _, e := range edges {
		if e.Destination.Name == "unknown" {
			continue // requests for paths that are not exposed
		}
		if e.Protocol != "http" || e.Security != "mutual_tls" || e.Errors > 0 {
			t.Errorf("%+v", e)
		}
	}
	// Canonical services and revisions, by which Kiali names nodes, as the destination's proxy has them.
	a, err := fetch(m.client, "http://"+m.address(t, "reviews-v3-1")+":15090/stats/prometheus", "")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^istio_requests_total\{reporter="destination",[^}]*\}`).FindString(a.body)
	for _, label := range []string{
		`source_canonical_service="productpage"`, `source_canonical_revision="v1"`, `source_principal="spiffe://cluster.local/ns/default/sa/bookinfo-productpage"`,
		`destination_canonical_service="reviews"`, `destination_canonical_revision="v3"`, `destination_service="reviews.default.svc.cluster.local"`,
		`destination_principal="spiffe://cluster.local/ns/default/sa/bookinfo-reviews"`, `connection_security_policy="mutual_tls"`, `response_code="200"`,
	} {
		if !strings.Contains(line, label) {
			t.Errorf("no %s in %s", label, line)
		}
	}
}

// walkTasks does what Istio's tasks on traffic do with Bookinfo: request routing by user, faults, shifting.
func (m *mesh) walkTasks(t *testing.T) {
	t.Helper()
	page := func(user string) string {
		t.Helper()
		header := []string{}
		if user != "" {
			client := *m.client
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			resp, err := client.PostForm("http://127.0.0.1:"+strconv.Itoa(m.port)+"/login", map[string][]string{"username": {user}})
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			for _, c := range resp.Cookies() {
				header = append(header, "Cookie", c.Name+"="+c.Value)
			}
		}
		return m.mustGet(t, "localhost", "/productpage", header...).body
	}
	expect := func(user, has, lacks string) {
		t.Helper()
		for range 5 {
			if body := page(user); !strings.Contains(body, has) || lacks != "" && strings.Contains(body, lacks) {
				t.Fatalf("user %q: want %q and not %q in\n%s", user, has, lacks, body)
			}
		}
	}
	m.step(t, "networking/destination-rule-all.yaml", "networking/virtual-service-all-v1.yaml")
	expect("", "reviews-v1-1", "★")
	m.step(t, "networking/virtual-service-reviews-test-v2.yaml")
	expect("jason", `color: black">★`, "")
	expect("", "reviews-v1-1", "★")
	m.step(t, "networking/virtual-service-ratings-test-abort.yaml")
	expect("jason", "Ratings service is currently unavailable", "★")
	expect("", "reviews-v1-1", "unavailable")
	m.step(t, "networking/virtual-service-ratings-test-delay.yaml")
	if body := page("jason"); !strings.Contains(body, "Sorry, product reviews are currently unavailable") {
		t.Errorf("with a delay of seven seconds:\n%s", body)
	}
	m.step(t, "networking/virtual-service-all-v1.yaml")
	m.step(t, "networking/virtual-service-reviews-50-v3.yaml")
	v3 := 0
	for range 100 {
		if strings.Contains(page(""), `color: red">★`) {
			v3++
		}
	}
	// 50 are expected; 6 standard deviations (5) of a fair draw are 30.
	if v3 < 20 || v3 > 80 {
		t.Errorf("%d of 100 pages had red stars, want about 50", v3)
	}
	if err := m.crashes(); err != nil {
		t.Error(err)
	}
	if raw, err := os.ReadFile(filepath.Join(m.state, "logs", "up.out")); err != nil || len(raw) > 0 {
		t.Errorf("`lateen up` has said %q %v", raw, err)
	}
}
