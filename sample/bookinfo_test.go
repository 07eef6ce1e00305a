package sample

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// startBookinfo serves all of Bookinfo, with one version of reviews, and returns productpage's URL.
func startBookinfo(t *testing.T, reviewsEnv ...string) string {
	t.Helper()
	host, port := func(addr string) string { h, _, _ := net.SplitHostPort(addr); return h }, func(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }
	d, r := start(t, "details", env()), start(t, "ratings", env())
	atRatings := []string{"RATINGS_HOSTNAME", host(r), "RATINGS_SERVICE_PORT", port(r)}
	v := start(t, "reviews", env(append(reviewsEnv, atRatings...)...))
	return "http://" + start(t, "productpage", env(append(atRatings,
		"DETAILS_HOSTNAME", host(d), "DETAILS_SERVICE_PORT", port(d), "REVIEWS_HOSTNAME", host(v), "REVIEWS_SERVICE_PORT", port(v))...))
}

// Each version of reviews shows what Istio's documentation says of it: no stars, black stars, red stars.
func TestBookinfoVersions(t *testing.T) {
	for _, tc := range []struct {
		name  string
		env   []string
		want  string
		stars bool
	}{
		{"v1", []string{"POD_NAME", "reviews-v1-1"}, "reviews-v1-1", false},
		{"v2", []string{"ENABLE_RATINGS", "true", "POD_NAME", "reviews-v2-1"}, `style="color: black">★★★★★`, true},
		{"v3", []string{"ENABLE_RATINGS", "true", "STAR_COLOR", "red"}, `style="color: red">★★★★☆`, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			at := startBookinfo(t, tc.env...)
			code, body, _ := get(t, at+"/productpage")
			if code != http.StatusOK || !strings.Contains(body, "<title>Simple Bookstore App</title>") || !strings.Contains(body, tc.want) || strings.Contains(body, "★") != tc.stars {
				t.Errorf("%d %s", code, body)
			}
			for _, path := range []string{"/", "/health", "/api/v1/products", "/api/v1/products/0", "/api/v1/products/0/reviews", "/api/v1/products/0/ratings"} {
				if code, body, _ := get(t, at+path); code != http.StatusOK {
					t.Errorf("%s: %d %s", path, code, body)
				}
			}
			if code, _, _ := get(t, at+"/api/v1/products/x"); code != http.StatusBadRequest {
				t.Errorf("a product without a number: %d", code)
			}
		})
	}
}

// The answers have the fields of Istio's sample, by which scripts read them.
func TestBookinfoShapes(t *testing.T) {
	at := startBookinfo(t, "ENABLE_RATINGS", "true")
	keys := func(path string) []string {
		t.Helper()
		_, body, _ := get(t, at+path)
		var v map[string]any
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Fatalf("%s: %v in %s", path, err, body)
		}
		var out []string
		for k := range v {
			out = append(out, k)
		}
		slices.Sort(out)
		return out
	}
	for path, want := range map[string][]string{
		"/api/v1/products/0":         {"ISBN-10", "ISBN-13", "author", "id", "language", "pages", "publisher", "type", "year"},
		"/api/v1/products/0/reviews": {"clustername", "id", "podname", "reviews"},
		"/api/v1/products/0/ratings": {"id", "ratings"},
	} {
		if got := keys(path); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", path, got, want)
		}
	}
	if _, body, _ := get(t, at+"/api/v1/products/0/reviews"); !strings.Contains(body, `"rating":{"stars":5,"color":"black"}`) {
		t.Error(body)
	}
}

// What is missing is said on the page, which is there all the same.
func TestBookinfoWithoutServices(t *testing.T) {
	gone := "http://" + start(t, "productpage", env("SERVICES_DOMAIN", "invalid", "HTTP_PROXY", "http://127.0.0.1:1"))
	code, body, _ := get(t, gone+"/productpage")
	if code != http.StatusOK || !strings.Contains(body, "Sorry, product details are currently unavailable") || !strings.Contains(body, "Sorry, product reviews are") {
		t.Errorf("%d %s", code, body)
	}
	if code, body, _ := get(t, gone+"/api/v1/products/0/reviews"); code != http.StatusInternalServerError || !strings.Contains(body, "error") {
		t.Errorf("%d %s", code, body)
	}
	v2 := start(t, "reviews", env("ENABLE_RATINGS", "true", "HTTP_PROXY", "http://127.0.0.1:1"))
	if code, body, _ := get(t, "http://"+v2+"/reviews/0"); code != http.StatusOK || !strings.Contains(body, "Ratings service is currently unavailable") {
		t.Errorf("%d %s", code, body)
	}
}

// Whoever is logged in is named to reviews and by it to ratings, and so is the trace; nobody is named without a session.
func TestBookinfoPassesHeadersOn(t *testing.T) {
	seen := map[string]http.Header{}
	backend := func(name, answer string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen[name] = r.Header.Clone()
			_, _ = io.WriteString(w, answer)
		}))
		t.Cleanup(s.Close)
		return s
	}
	at := func(s *httptest.Server, variable string) []string {
		u, err := url.Parse(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		return []string{variable + "_HOSTNAME", u.Hostname(), variable + "_SERVICE_PORT", u.Port()}
	}
	ratings := backend("ratings", `{"id":0,"ratings":{"Reviewer1":1}}`)
	details := backend("details", `{"id":0}`)
	v2 := start(t, "reviews", env(append(at(ratings, "RATINGS"), "ENABLE_RATINGS", "true")...))
	host, port, _ := net.SplitHostPort(v2)
	page := "http://" + start(t, "productpage", env(append(at(details, "DETAILS"), "REVIEWS_HOSTNAME", host, "REVIEWS_SERVICE_PORT", port)...))

	get(t, page+"/productpage", "x-request-id", "r-1", "traceparent", "t-1")
	for _, name := range []string{"details", "ratings"} {
		if h := seen[name]; h.Get("X-Request-Id") != "r-1" || h.Get("Traceparent") != "t-1" || h.Get("End-User") != "" {
			t.Errorf("%s got %v", name, h)
		}
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(method, path string, form url.Values) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, page+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if code, body := ask(http.MethodPost, "/login", url.Values{"username": {"jason"}, "passwd": {""}}); code != http.StatusOK || !strings.Contains(body, "<b>jason</b>") {
		t.Errorf("after the login: %d %s", code, body)
	}
	for _, name := range []string{"details", "ratings"} {
		if got := seen[name].Get("End-User"); got != "jason" {
			t.Errorf("%s: end-user %q", name, got)
		}
	}
	if _, body := ask(http.MethodGet, "/logout", nil); strings.Contains(body, "jason") || seen["ratings"].Get("End-User") != "" {
		t.Errorf("after the logout: %s", body)
	}
	for _, name := range []string{"", "a\r\nb: c", strings.Repeat("x", maxUser+1), "é"} {
		if code, _ := ask(http.MethodPost, "/login", url.Values{"username": {name}}); code != http.StatusBadRequest {
			t.Errorf("user %q: %d, want 400", name, code)
		}
	}
	if got := loggedIn(&http.Request{Header: http.Header{"Cookie": {"session=YQ0KYg"}}}); got != "" {
		t.Errorf("a made-up cookie names %q", got)
	}
}

func TestRatingsAreKept(t *testing.T) {
	at := "http://" + start(t, "ratings", env())
	post := func(path, body string) int {
		t.Helper()
		resp, err := http.Post(at+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if code := post("/ratings/7", `{"Reviewer1": 2}`); code != http.StatusOK {
		t.Errorf("POST: %d", code)
	}
	if _, body, _ := get(t, at+"/ratings/7"); !strings.Contains(body, `"Reviewer1":2`) {
		t.Error(body)
	}
	if _, body, _ := get(t, at+"/ratings/0"); !strings.Contains(body, `"Reviewer1":5,"Reviewer2":4`) {
		t.Error(body)
	}
	for _, bad := range []string{`{"a": 6}`, `{}`, `[`, `{"a": "b"}`} {
		if code := post("/ratings/7", bad); code != http.StatusBadRequest {
			t.Errorf("%s: %d, want 400", bad, code)
		}
	}
}
