package sample

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// keptRequests is how many requests an app remembers.
const keptRequests = 512

// Seen is one request that an app has received.
type Seen struct {
	Time   time.Time   `json:"time"`
	Method string      `json:"method"`
	Path   string      `json:"path"`
	Host   string      `json:"host"`
	Header http.Header `json:"headers"`
	Remote string      `json:"remote"`
}

// control is an app's run-time switches and memory.
type control struct {
	fault atomic.Pointer[Fault]
	draw  func() float64

	mu   sync.Mutex
	ring []Seen // the newest keptRequests, the oldest at next once it is full
	next int
}

func newControl() *control {
	c := &control{draw: rand.Float64}
	c.fault.Store(&Fault{})
	return c
}

// observe remembers each request, misbehaves as told, and else lets the app answer.
func (c *control) observe(app http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.remember(Seen{Time: time.Now(), Method: r.Method, Path: r.URL.RequestURI(), Host: r.Host, Header: r.Header.Clone(), Remote: r.RemoteAddr})
		if c.fault.Load().apply(r.Context(), w, c.draw()) {
			return
		}
		app.ServeHTTP(w, r)
	})
}

func (c *control) remember(s Seen) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ring) < keptRequests {
		c.ring = append(c.ring, s)
		return
	}
	c.ring[c.next] = s
	c.next = (c.next + 1) % keptRequests
}

// last returns up to n requests, oldest first.
func (c *control) last(n int) []Seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Seen, 0, len(c.ring))
	all = append(all, c.ring[c.next:]...)
	all = append(all, c.ring[:c.next]...)
	return all[max(0, len(all)-n):]
}

func (c *control) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /shop/fault", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, *c.fault.Load()) })
	mux.HandleFunc("POST /shop/fault", func(w http.ResponseWriter, r *http.Request) {
		var f Fault
		if err := json.NewDecoder(io.LimitReader(r.Body, 4096)).Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c.fault.Store(&f)
		writeJSON(w, f)
	})
	mux.HandleFunc("GET /shop/requests", func(w http.ResponseWriter, r *http.Request) {
		n := keptRequests
		if text := r.URL.Query().Get("last"); text != "" {
			var err error
			if n, err = strconv.Atoi(text); err != nil || n < 0 {
				http.Error(w, fmt.Sprintf("last=%q: want a number of requests", text), http.StatusBadRequest)
				return
			}
		}
		writeJSON(w, c.last(n))
	})
}

// SetFault tells the app at an address how to misbehave.
func SetFault(ctx context.Context, address string, f Fault) error {
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return ask(ctx, http.MethodPost, "http://"+address+"/shop/fault", body, &Fault{})
}

// GetFault returns how the app at an address misbehaves.
func GetFault(ctx context.Context, address string) (Fault, error) {
	var f Fault
	err := ask(ctx, http.MethodGet, "http://"+address+"/shop/fault", nil, &f)
	return f, err
}

// Requests returns the last n requests that the app at an address has seen, oldest first.
func Requests(ctx context.Context, address string, n int) ([]Seen, error) {
	var all []Seen
	err := ask(ctx, http.MethodGet, "http://"+address+"/shop/requests?last="+strconv.Itoa(n), nil, &all)
	return all, err
}

func ask(ctx context.Context, method, url string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	// Straight to the app, whatever HTTP_PROXY says, and without a connection left behind.
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("the app does not answer: %w", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, resp.Status, strings.TrimSpace(string(raw)))
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}
