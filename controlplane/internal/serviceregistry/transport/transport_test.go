package transport

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(t *testing.T, c *http.Client, url string) (int, string, error) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("x-token") + " " + http.StatusText(resp.StatusCode) + strings.Repeat("!", int(min(n, 1))), err
}

// server answers with the token that it was sent; /endless without end, /elsewhere with a redirect.
func server(t *testing.T, l net.Listener) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-token", r.Header.Get("X-Test-Token"))
		switch r.URL.Path {
		case "/endless":
			chunk := make([]byte, 1<<20)
			for {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		case "/elsewhere":
			http.Redirect(w, r, "/", http.StatusFound)
		}
	}))
	if l != nil {
		s.Listener.Close()
		s.Listener = l
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func TestToken(t *testing.T) {
	s := server(t, nil)
	file := filepath.Join(t.TempDir(), "token")
	if _, err := New(Options{TokenFile: file}); err == nil {
		t.Error("a token file that is not there is no error")
	}
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	c, err := New(Options{TokenFile: file, TokenHeader: "X-Test-Token"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	want := func(token string) {
		t.Helper()
		if _, got, err := get(t, c, s.URL); err != nil || !strings.HasPrefix(got, token+" ") {
			t.Errorf("sent %q, %v; want %q", got, err, token)
		}
	}
	want("one")
	write("two")
	want("two")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	want("two") // what it held last
	if status, _, _ := get(t, c, s.URL+"/elsewhere"); status != http.StatusFound {
		t.Errorf("the redirect was followed, to an answer of %d", status)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	s := server(t, nil)
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	if _, _, err := get(t, c, s.URL+"/endless"); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("err %v", err)
	}
}

func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server(t, l)
	c, err := New(Options{Socket: path})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	if status, _, err := get(t, c, "http://localhost/"); err != nil || status != 200 {
		t.Errorf("status %d, err %v", status, err)
	}
}

func TestPlain(t *testing.T) {
	c, err := New(Options{Socket: "/no/such/socket"})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = get(t, c, "http://localhost/v1?index=7")
	if text := Plain(err).Error(); strings.Contains(text, "index=7") || !strings.Contains(text, "no such file") {
		t.Errorf("the error is %q", text)
	}
	if Plain(io.EOF) != io.EOF {
		t.Error("another error was changed")
	}
}
