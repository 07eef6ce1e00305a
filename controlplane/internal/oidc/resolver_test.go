package oidc

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issuer is a server whose answer can be changed.
type issuer struct {
	*httptest.Server
	mu     sync.Mutex
	answer http.HandlerFunc
	asked  []string // paths
}

func newIssuer(t *testing.T, secure bool, answer http.HandlerFunc) *issuer {
	t.Helper()
	s := &issuer{answer: answer}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.URL.Path)
		answer := s.answer
		s.mu.Unlock()
		answer(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not trust it
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func (s *issuer) set(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *issuer) paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// says answers with a document.
func says(document string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, document) }
}

func keysAt(uri string) http.HandlerFunc { return says(fmt.Sprintf(`{"jwks_uri": %q}`, uri)) }

// run starts a resolver and returns a function that waits until what is known is so.
func run(t *testing.T, opts Options) (*Resolver, func(what string, ok func(map[string]Answer) bool) map[string]Answer) {
	t.Helper()
	r := New(opts)
	ctx, cancel := context.WithCancel(context.Background())
	told, done := make(chan map[string]Answer), make(chan error, 1)
	go func() {
		done <- r.Run(ctx, func(a map[string]Answer) {
			select {
			case told <- a:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r, func(what string, ok func(map[string]Answer) bool) map[string]Answer {
		t.Helper()
		var last map[string]Answer
		for timeout := time.After(time.Minute); ; {
			select {
			case last = <-told:
				if ok(last) {
					return last
				}
			case <-timeout:
				t.Fatalf("not told that %s; last: %v", what, last)
			}
		}
	}
}

// TestLies: whatever an issuer answers, it is bounded, and said by name.
func TestLies(t *testing.T) {
	endless := func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write([]byte(strings.Repeat(" ", 1<<12))); err != nil {
				return
			}
		}
	}
	plain := newIssuer(t, false, keysAt("https://keys.example.com/"))
	tests := []struct {
		name   string
		secure bool
		answer http.HandlerFunc
		want   string // "": https://keys.example.com/ is found
	}{
		{name: "a document", answer: says(`{"issuer": "someone else", "jwks_uri": "https://keys.example.com/", "more": [1]}`)},
		{name: "a document over TLS", secure: true, answer: keysAt("https://keys.example.com/")},
		{name: "another content type", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("content-type", "text/html")
			fmt.Fprint(w, `{"jwks_uri": "https://keys.example.com/"}`)
		}},
		{name: "a redirect", answer: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/there" {
				keysAt("https://keys.example.com/")(w, r)
				return
			}
			http.Redirect(w, r, "/there", http.StatusFound)
		}},
		{name: "redirects without end", answer: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) }, want: "more than 3 redirects"},
		{name: "a redirect out of TLS", secure: true, answer: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) }, want: "leads from https to plaintext"},
		{name: "an error", answer: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", http.StatusInternalServerError) }, want: "status is 500"},
		{name: "nothing there", answer: http.NotFound, want: "status is 404"},
		{name: "no content", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, want: "status is 204"},
		{name: "empty", answer: says(""), want: "not a JSON object"},
		{name: "no JSON", answer: says("<html>"), want: "not a JSON object"},
		{name: "a list", answer: says("[]"), want: "not a JSON object"},
		{name: "another type", answer: says(`{"jwks_uri": 7}`), want: "not a JSON object"},
		{name: "no URI", answer: says(`{"issuer": "x"}`), want: "has no jwks_uri"},
		{name: "half a URI", answer: keysAt("/keys"), want: "no http or https URL"},
		{name: "a URI of a file", answer: keysAt("file:///etc/passwd"), want: "no http or https URL"},
		{name: "a URI without a host", answer: keysAt("http://:80/"), want: "no http or https URL"},
		{name: "a URI without end", answer: keysAt("https://a/" + strings.Repeat("x", maxURI)), want: "no http or https URL"},
		{name: "keys in plaintext", secure: true, answer: keysAt("http://keys.example.com/"), want: "jwks_uri is in plaintext"},
		{name: "huge", answer: says(`{"jwks_uri": "https://keys.example.com/", "x": "` + strings.Repeat("x", bounds().Size) + `"}`), want: "larger than"},
		{name: "endless", answer: endless, want: "larger than"},
		{name: "huge headers", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("x", strings.Repeat("x", 2*64<<10))
		}, want: "header"},
		{name: "half an answer", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("content-length", "100")
			fmt.Fprint(w, "{")
		}, want: "unexpected EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newIssuer(t, tt.secure, tt.answer)
			c := bounds().Client()
			if tt.secure {
				c.Transport.(*http.Transport).TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig
			}
			got, err := fetch(t.Context(), c, s.URL+"/realm/")
			switch {
			case tt.want == "" && (err != nil || got != "https://keys.example.com/"):
				t.Errorf("%q, %v", got, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret")):
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
			if p := s.paths()[0]; p != "/realm/.well-known/openid-configuration" {
				t.Errorf("asked for %s", p)
			}
		})
	}
	t.Run("a stranger's certificate", func(t *testing.T) {
		s := newIssuer(t, true, keysAt("https://keys.example.com/"))
		if _, err := fetch(t.Context(), bounds().Client(), s.URL); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Error(err)
		}
	})
	t.Run("slow", func(t *testing.T) {
		s := newIssuer(t, false, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		c := bounds().Client()
		c.Timeout = 10 * time.Millisecond
		if _, err := fetch(t.Context(), c, s.URL); err == nil || !strings.Contains(err.Error(), "Client.Timeout") {
			t.Error(err)
		}
	})
}

// TestIssuersThatAreNoURLs are asked nothing.
func TestIssuersThatAreNoURLs(t *testing.T) {
	for _, issuer := range []string{"", "accounts.example.com", "https://", "https://a?b=c", "https://a#b", "https://me:secret@a", "ftp://a", "https://a b", "kubernetes/serviceaccount"} {
		if u, err := documentURL(issuer); err == nil {
			t.Errorf("%q: %s", issuer, u)
		}
	}
}

// TestFollows: an issuer is asked until it says where its keys are, and anew when they may have moved; that it is away then moves nothing.
func TestFollows(t *testing.T) {
	reg := prometheus.NewRegistry()
	fails := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	a, b := newIssuer(t, false, fails), newIssuer(t, false, keysAt("https://b.example.com/1"))
	r, until := run(t, Options{Refresh: 5 * time.Millisecond, RetryAfter: time.Millisecond, Registerer: reg})
	r.Follow([]string{a.URL, b.URL, "nobody"})
	got := until("all have been asked", func(known map[string]Answer) bool { return len(known) == 3 })
	if a := got[a.URL]; a.KeysURI != "" || !strings.Contains(a.Problem, "503") {
		t.Errorf("of who is away: %+v", a)
	}
	if b := got[b.URL]; b.KeysURI != "https://b.example.com/1" || b.Problem != "" {
		t.Errorf("of who says it: %+v", b)
	}
	if n := got["nobody"]; !strings.Contains(n.Problem, "no http or https URL") {
		t.Errorf("of who is no URL: %+v", n)
	}
	a.set(keysAt("https://a.example.com/1"))
	until("one is back", func(known map[string]Answer) bool {
		return known[a.URL] == Answer{KeysURI: "https://a.example.com/1"}
	})
	b.set(keysAt("https://b.example.com/2"))
	until("keys have moved", func(known map[string]Answer) bool { return known[b.URL].KeysURI == "https://b.example.com/2" })
	b.set(fails)
	got = until("one has gone away", func(known map[string]Answer) bool { return known[b.URL].Problem != "" })
	if got[b.URL].KeysURI != "https://b.example.com/2" {
		t.Errorf("of who was there: %+v", got[b.URL])
	}
	r.Follow([]string{a.URL})
	until("nobody asks for the others", func(known map[string]Answer) bool { return len(known) == 1 && known[a.URL].KeysURI != "" })
	counted := map[string]float64{}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		counted[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
	}
	if counted["pilot_jwks_resolver_network_fetch_success_total"] < 3 || counted["pilot_jwks_resolver_network_fetch_fail_total"] < 2 {
		t.Errorf("counted %v", counted)
	}
}

// TestSlowIssuersHoldUpNobody: some that do not answer are asked beside one that does, and are let go at the end.
func TestSlowIssuersHoldUpNobody(t *testing.T) {
	slow := newIssuer(t, false, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	quick := newIssuer(t, false, keysAt("https://a.example.com/"))
	var issuers []string
	for i := range atOnce - 1 {
		issuers = append(issuers, fmt.Sprintf("%s/%d", slow.URL, i))
	}
	r, until := run(t, Options{})
	r.Follow(append(issuers, quick.URL))
	until("the quick one is known", func(known map[string]Answer) bool { return known[quick.URL].KeysURI != "" && len(known) == 1 })
}
