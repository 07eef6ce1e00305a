package hcm_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// hostile is a line of testdata/hostile-http1.txt.
type hostile struct {
	line   int
	status int
	keep   bool
	text   string // as in the file
	send   string
}

var repeated = regexp.MustCompile(`(?s)<(\d+)\*([^>]*)>`)

func readHostile(t *testing.T, file string) []hostile {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []hostile
	for i, line := range strings.Split(string(raw), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		h := hostile{line: i + 1}
		var after string
		if _, err := fmt.Sscanf(line, "%d %s %q", &h.status, &after, &h.send); err != nil {
			t.Fatalf("%s:%d: %v", file, i+1, err)
		}
		h.keep, h.text = after == "keep", line
		if !h.keep && after != "close" {
			t.Fatalf("%s:%d: %q is neither keep nor close", file, i+1, after)
		}
		h.send = repeated.ReplaceAllStringFunc(h.send, func(m string) string {
			p := repeated.FindStringSubmatch(m)
			n, _ := strconv.Atoi(p[1])
			return strings.Repeat(p[2], n)
		})
		out = append(out, h)
	}
	return out
}

// TestHostileHTTP1 sends each line of the table to the proxy and looks at the answer, at what becomes of the connection, and at
// what the application saw.
func TestHostileHTTP1(t *testing.T) {
	seen := make(chan string, 10)
	up := httpServer(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen <- r.RequestURI
	})
	p := base(up).start(t)
	rows := readHostile(t, "testdata/hostile-http1.txt")
	if len(rows) < 150 {
		t.Errorf("only %d rows", len(rows))
	}
	const next = "GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
	for _, h := range rows {
		method, _, _ := strings.Cut(strings.TrimLeft(h.send, "\r\n "), " ")
		c := p.dial()
		// What cannot be sent any more shows that the proxy has closed, which the reading below sees.
		_, _ = io.WriteString(c, h.send+next)
		status, closed := answer(c, method)
		if status != h.status || closed == h.keep {
			t.Errorf("line %d: %d, closed %v: %.120s", h.line, status, closed, h.text)
		}
		if h.keep && !closed {
			if resp, _ := c.response("GET"); resp.StatusCode != 200 {
				t.Errorf("line %d: the request behind it: %d", h.line, resp.StatusCode)
			}
			c.closed()
		}
		_ = c.Close()
		p.waitStat("http.t.downstream_cx_active", 0)
		saw := strings.Join(drain(seen), " ")
		if next := strings.Contains(saw, "/next"); next != h.keep || strings.Contains(saw, "/smuggled") {
			t.Errorf("line %d: the application saw %q: %.120s", h.line, saw, h.text)
		}
	}
}

// answer reads one response, interim ones aside, and whether it is the last.
func answer(c *client, method string) (status int, last bool) {
	for {
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			return 0, true
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		if resp.StatusCode/100 != 1 {
			return resp.StatusCode, resp.Close
		}
	}
}

func drain(c chan string) (out []string) {
	for {
		select {
		case s := <-c:
			out = append(out, s)
		default:
			return out
		}
	}
}
