package spiffebundle

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/pkg/certtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func key(use string, certs ...[]byte) string {
	var x5c []string
	for _, c := range certs {
		block, _ := pem.Decode(c)
		x5c = append(x5c, fmt.Sprintf("%q", base64.StdEncoding.EncodeToString(block.Bytes)))
	}
	return fmt.Sprintf(`{"use": %q, "kty": "EC", "x5c": [%s]}`, use, strings.Join(x5c, ","))
}

func set(more string, keys ...string) string {
	return `{"keys": [` + strings.Join(keys, ",") + `]` + more + `}`
}

// What a bundle may say, and what is made of it.
func TestParse(t *testing.T) {
	one, two := certtest.New(t), certtest.New(t)
	leaf := one.Issue(t, certtest.Names("a.example"))
	for _, tt := range []struct {
		name, text string
		roots      []string
		good       time.Duration
		err        string
	}{
		{"one root", set("", key("x509-svid", one.PEM)), []string{string(one.PEM)}, 0, ""},
		{"two, and a key of tokens", set(`, "spiffe_sequence": 3`, key("x509-svid", one.PEM), `{"use": "jwt-svid", "kid": "a"}`, key("x509-svid", two.PEM)), []string{string(one.PEM), string(two.PEM)}, 0, ""},
		{"a hint", set(`, "spiffe_refresh_hint": 600`, key("x509-svid", one.PEM)), []string{string(one.PEM)}, 10 * time.Minute, ""},
		{"a hint that is too short", set(`, "spiffe_refresh_hint": 1`, key("x509-svid", one.PEM)), []string{string(one.PEM)}, minRefresh, ""},
		{"a hint that is too long", set(`, "spiffe_refresh_hint": 1e300`, key("x509-svid", one.PEM)), []string{string(one.PEM)}, maxRefresh, ""},
		{"no JSON", "keys", nil, 0, "not a JSON object"},
		{"no roots", set("", `{"use": "jwt-svid"}`), nil, 0, "no key for X.509-SVIDs"},
		{"two certificates in a key", set("", key("x509-svid", one.PEM, two.PEM)), nil, 0, "keys[0].x5c has 2 certificates"},
		{"no base64", set("", `{"use": "x509-svid", "x5c": ["-"]}`), nil, 0, "keys[0].x5c is no base64"},
		{"no authority", set("", key("x509-svid", one.PEM), key("x509-svid", leaf.Chain)), nil, 0, "keys[1].x5c is not the certificate of an authority"},
		{"too many", set("", strings.Repeat(key("x509-svid", one.PEM)+",", maxRoots)+key("x509-svid", one.PEM)), nil, 0, "101 roots"},
	} {
		roots, good, err := parse([]byte(tt.text))
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if strings.Join(roots, "") != strings.Join(tt.roots, "") || good != tt.good {
			t.Errorf("%s: %d roots, good for %v", tt.name, len(roots), good)
		}
	}
}

// Whatever an endpoint does, it is bounded, and what was known stays.
func TestEndpoints(t *testing.T) {
	root := certtest.New(t)
	good := set("", key("x509-svid", root.PEM))
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"a bundle", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, good) }, ""},
		{"an error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, "status is 418"},
		{"too much", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat(" ", bounds().Size), good) }, "larger than"},
		{"no bundle", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "secret") }, "not a JSON object"},
	} {
		s := httptest.NewTLSServer(tt.answer)
		roots, _, err := fetch(t.Context(), s.Client(), s.URL)
		switch {
		case tt.want == "" && (err != nil || len(roots) != 1):
			t.Errorf("%s: %v, %v", tt.name, roots, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret")):
			t.Errorf("%s: %v", tt.name, err)
		}
		s.Close()
	}
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, good) }))
	defer plain.Close()
	away := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer away.Close()
	client := bounds().Client()
	client.Transport = away.Client().Transport
	if _, _, err := fetch(t.Context(), client, away.URL); err == nil || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("a redirect to plaintext: %v", err)
	}
}

// TestFollow: a bundle is asked for, kept while its endpoint is away, and gone when nobody wants it.
func TestFollow(t *testing.T) {
	root := certtest.New(t)
	var away atomic.Bool
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, set("", key("x509-svid", root.PEM)))
	}))
	defer s.Close()
	away.Store(true)
	r := New(Options{Client: s.Client(), RetryAfter: time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	told, done := make(chan map[string]Answer), make(chan error, 1)
	go func() {
		done <- r.Run(ctx, func(a map[string]Answer) {
			select {
			case told <- a:
			case <-ctx.Done():
			}
		})
	}()
	next := func() map[string]Answer {
		t.Helper()
		select {
		case a := <-told:
			return a
		case <-ctx.Done():
			t.Fatal("nothing is told")
			return nil
		}
	}
	r.Follow([]string{s.URL})
	if a := next()[s.URL]; a.Problem == "" || len(a.Value) > 0 {
		t.Errorf("while it is away: %+v", a)
	}
	away.Store(false)
	if a := next()[s.URL]; a.Problem != "" || len(a.Value) != 1 {
		t.Errorf("when it is there: %+v", a)
	}
	r.Follow(nil)
	if a := next(); len(a) != 0 {
		t.Errorf("nobody wants it, and %v is known", a)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"keys": [{"use": "x509-svid", "x5c": ["AAAA"]}], "spiffe_refresh_hint": -1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		roots, good, err := parse(text)
		if err != nil && len(roots) > 0 {
			t.Error("roots in spite of an error")
		}
		if good != 0 && (good < minRefresh || good > maxRefresh) {
			t.Errorf("good for %v", good)
		}
	})
}
