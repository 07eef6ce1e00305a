package status

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestTakesGzip(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "gzip": true, "GZip": true, "deflate, gzip;q=0.5": true, "gzip;q=0": false, "gzip; q=0.0, *": false, "*": true, "*;q=0": false, "br": false,
		"gzip;q=x": false, "xgzip": false, "identity, *;q=0.1": true, "gzip;level=1": true,
	} {
		if got := takesGzip(http.Header{"Accept-Encoding": {text}}); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if !takesGzip(http.Header{"Accept-Encoding": {"br", "gzip"}}) {
		t.Error("gzip in a second line is not seen")
	}
}

// TestCompressed: a scraper that takes gzip gets it, whole; others get text.
func TestCompressed(t *testing.T) {
	for _, compress := range []bool{true, false} {
		w := startWith(t, proxyMetrics, serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "own 1\n") }), func(c *Config) { c.Compress = compress })
		for _, accept := range []string{"gzip", "identity"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/stats/prometheus", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept-Encoding", accept)
			resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, encoded := io.Reader(resp.Body), resp.Header.Get("Content-Encoding")
			if want := compress && accept == "gzip"; (encoded == "gzip") != want || (resp.Header.Get("Vary") == "Accept-Encoding") != compress {
				t.Fatalf("compress %v, accept %s: Content-Encoding %q, Vary %q", compress, accept, encoded, resp.Header.Get("Vary"))
			}
			if encoded == "gzip" {
				if body, err = gzip.NewReader(resp.Body); err != nil {
					t.Fatal(err)
				}
			}
			text, err := io.ReadAll(body)
			if err != nil || !strings.Contains(string(text), proxyText) || !strings.HasSuffix(string(text), "own 1\n") {
				t.Errorf("compress %v, accept %s: %q, %v", compress, accept, text, err)
			}
		}
	}
}

// TestCompressedHalf: what breaks off is no whole answer, compressed or not.
func TestCompressedHalf(t *testing.T) {
	w := startWith(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half ")
	}, "", func(c *Config) { c.Compress = true })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/stats/prometheus", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return // not even a head came
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("%d bytes are taken for an answer", len(body))
	}
}
