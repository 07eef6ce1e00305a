package webfetch

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asked is the variable by which TestSystemTrust tells the program that it starts what to ask.
const asked = "LATEEN_WEBFETCH_URL"

func TestMain(m *testing.M) {
	if url := os.Getenv(asked); url != "" {
		os.Exit(ask(url))
	}
	goleak.VerifyTestMain(m)
}

// ask is the program of TestSystemTrust: 0 when a document came.
func ask(url string) int {
	b := Bounds{Timeout: 10 * time.Second, Size: 100}
	body, err := b.Get(context.Background(), b.Client(), url)
	if err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	os.Stdout.Write(body)
	return 0
}

func TestGet(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("{}")) }))
	t.Cleanup(plain.Close)
	for _, test := range []struct {
		name      string
		secure    bool
		redirects int
		answer    http.HandlerFunc
		want      string // part of the error; "": there is none
	}{
		{name: "a document", answer: func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept") != "application/json" {
				w.WriteHeader(406)
			}
			w.Write([]byte("{}"))
		}},
		{name: "as long as it may be", answer: func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 100)) }},
		{name: "longer", answer: func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 101)) }, want: "larger than 100 bytes"},
		{name: "endless", answer: func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, want: "larger than 100 bytes"},
		{name: "no document", answer: http.NotFound, want: "status is 404"},
		{name: "no content", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, want: "status is 204"},
		{name: "slow", answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, want: "deadline exceeded"},
		{name: "slow behind its head", answer: func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("{"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, want: "deadline exceeded"},
		{name: "cut", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("content-length", "50")
			w.Write([]byte("{"))
		}, want: "unexpected EOF"},
		{name: "a long head", answer: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("x", strings.Repeat("x", 70<<10)) }, want: "exceeded"},
		{name: "a redirect where none is followed", answer: http.RedirectHandler("/", http.StatusFound).ServeHTTP, want: "status is 302"},
		{name: "redirects without end", redirects: 3, answer: http.RedirectHandler("/", http.StatusFound).ServeHTTP, want: "more than 3 redirects"},
		{name: "one redirect", redirects: 1, answer: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/there" {
				w.Write([]byte("{}"))
				return
			}
			http.Redirect(w, r, "/there", http.StatusFound)
		}},
		{name: "one that leaves TLS", secure: true, redirects: 3, answer: http.RedirectHandler(plain.URL, http.StatusFound).ServeHTTP, want: "from https to plaintext"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(test.answer)
			if test.secure {
				s.StartTLS()
			} else {
				s.Start()
			}
			t.Cleanup(s.Close)
			b := Bounds{Timeout: 2 * time.Second, Size: 100, Redirects: test.redirects}
			if strings.HasPrefix(test.name, "slow") {
				b.Timeout = 50 * time.Millisecond
			}
			c := b.Client()
			if test.secure {
				c.Transport = s.Client().Transport
			}
			body, err := b.Get(t.Context(), c, s.URL)
			switch {
			case test.want == "" && (err != nil || len(body) == 0):
				t.Errorf("%q, %v", body, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), s.URL)):
				t.Errorf("%v, want the URL and %q", err, test.want)
			}
		})
	}
}

// TestSystemTrust asks a server whose authority only SSL_CERT_FILE names, in a program of its own, since Go reads the system's roots once.
func TestSystemTrust(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("{}")) }))
	t.Cleanup(s.Close)
	s.Config.ErrorLog = nil
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{roots: "{}", "/dev/null": "certificate signed by unknown authority"} {
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Env = []string{asked + "=" + s.URL, "SSL_CERT_FILE=" + file, "SSL_CERT_DIR=" + t.TempDir()}
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), want) || (err == nil) != (file == roots) {
			t.Errorf("with %s: %s, %v", file, out, err)
		}
	}
}
