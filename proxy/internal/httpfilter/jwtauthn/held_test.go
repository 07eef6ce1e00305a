package jwtauthn

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/jwt/jwttest"
)

// TestHeld follows what is held of a server's keys through answers of all kinds, on a clock of its own.
func TestHeld(t *testing.T) {
	k := jwttest.New(t)
	r := &Remote{CacheFor: time.Minute, RetryAfter: 2 * time.Second}
	a, b := []byte(k.Set("ed")), []byte(k.Set("rsa", "ed"))
	start := time.Unix(1e9, 0)
	var h *held
	for i, step := range []struct {
		at     time.Duration // of the answer
		answer answer
		keys   int // held afterwards
		until  time.Duration
		wait   time.Duration
		err    string
		same   bool // the set is the one from before
	}{
		{0, answer{err: errors.New("connection refused")}, 0, 0, 2 * time.Second, "refused", false},
		{0, answer{status: 500, body: a}, 0, 0, 2 * time.Second, "status is 500", false},
		{0, answer{status: 200}, 0, 0, 2 * time.Second, "empty", false},
		{0, answer{status: 200, body: []byte("<html>")}, 0, 0, 2 * time.Second, "JSON object", false},
		{0, answer{status: 200, body: a}, 1, time.Minute, 55 * time.Second, "", false},
		{time.Minute, answer{status: 200, body: a}, 1, 2 * time.Minute, 55 * time.Second, "", true},
		{2 * time.Minute, answer{status: 404}, 1, 2*time.Minute + 2*time.Second, 2 * time.Second, "404", true},
		{time.Hour, answer{err: errors.New("timeout")}, 1, time.Hour + 2*time.Second, 2 * time.Second, "timeout", true},
		{2 * time.Hour, answer{status: 200, body: []byte(`{"keys":[]}`)}, 1, 2*time.Hour + 2*time.Second, 2 * time.Second, "empty", true},
		{3 * time.Hour, answer{status: 200, body: b}, 2, 3*time.Hour + time.Minute, 55 * time.Second, "", false},
		{4 * time.Hour, answer{status: 200, body: a}, 1, 4*time.Hour + time.Minute, 55 * time.Second, "", false},
	} {
		now := start.Add(step.at)
		next, wait, err := r.take(h, step.answer, now)
		if (err == nil) != (step.err == "") || err != nil && !strings.Contains(err.Error(), step.err) {
			t.Errorf("%d: %v, want %q", i, err, step.err)
		}
		if wait != step.wait {
			t.Errorf("%d: the next fetch is due after %v, want %v", i, wait, step.wait)
		}
		if (next != nil) != (step.keys > 0) {
			t.Fatalf("%d: %+v", i, next)
		}
		if next != nil {
			if next.keys.Len() != step.keys || !next.until.Equal(start.Add(step.until)) {
				t.Errorf("%d: %d keys until %v", i, next.keys.Len(), next.until.Sub(start))
			}
			if (h != nil && h.keys == next.keys) != step.same {
				t.Errorf("%d: same set: %v, want %v", i, !step.same, step.same)
			}
			if !next.fresh(next.until.Add(-1)) || next.fresh(next.until) {
				t.Errorf("%d: not fresh until it should be", i)
			}
		}
		h = next
	}
	if h = nil; h.fresh(start) {
		t.Error("nothing is fresh")
	}
	short := &Remote{CacheFor: time.Second}
	if _, wait, _ := short.take(nil, answer{status: 200, body: a}, start); wait != time.Second {
		t.Errorf("keys for a second are fetched after %v", wait)
	}
}
