package hcm_test

import (
	"io"
	"testing"
	"time"
)

// TestDelayedClose: delayed_close_timeout bounds how long a connection that we end waits for its
// client, and downstream_cx_delayed_close_timeout counts those whose client did not go.
func TestDelayedClose(t *testing.T) {
	const refused = "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"
	f := func(name, send string, patience time.Duration, want int64) {
		t.Helper()
		s := base()
		s.hcm.DelayedCloseTimeout = patience
		p := s.start(t)
		c := p.dial().send(send)
		if _, err := io.Copy(io.Discard, c.r); err != nil { // our side ends; the client's stays
			t.Errorf("%s: %v", name, err)
		}
		p.waitStat("http.t.downstream_cx_destroy_local", 1)
		p.waitStat("http.t.downstream_cx_active", 0)
		if got := p.stat("http.t.downstream_cx_delayed_close_timeout"); got != want {
			t.Errorf("%s: %d connections were waited for in vain, want %d", name, got, want)
		}
	}
	const short = 30 * time.Millisecond
	f("HTTP/1", refused, short, 1)
	f("HTTP/1, no patience", refused, 0, 0)
	f("HTTP/1, all of the request has come", "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", short, 0)
	const evenStream = "\x00\x00\x00\x01\x04\x00\x00\x00\x02" // which no client may open
	f("HTTP/2", rawHTTP2+evenStream, short, 1)
	f("HTTP/2, no patience", rawHTTP2+evenStream, 0, 0)

	// A client that goes meanwhile is the one who ended it.
	s := base()
	s.hcm.DelayedCloseTimeout = time.Hour
	p := s.start(t)
	c := p.dial().send(refused)
	_, _ = io.Copy(io.Discard, c.r)
	_ = c.Close()
	p.waitStat("http.t.downstream_cx_destroy_remote", 1)
}
