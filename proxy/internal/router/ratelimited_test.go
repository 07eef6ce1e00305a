package router

import (
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestResetInterval(t *testing.T) {
	now := time.Unix(1000, 999)
	policy := &xdsresource.RetryPolicy{
		ResetHeaders: []xdsresource.ResetHeader{{Name: "retry-after"}, {Name: "x-ratelimit-reset", Unix: true}},
		ResetMax:     30*time.Second + 500*time.Millisecond,
	}
	for _, test := range []struct {
		after, reset string
		want         time.Duration
	}{
		{"", "", 0},
		{"5", "", 5 * time.Second},
		{"5", "1007", 5 * time.Second},
		{"30", "", 30 * time.Second},
		{"31", "", 0},
		{"31", "1007", 7 * time.Second}, // too long: the next one is asked
		{"", "1000", 0},
		{"", "999", 0},
		{"", "1031", 0},
		{"1.5", "1001", time.Second},
		{"-1", "", 0},
		{"Wed, 21 Oct 2015 07:28:00 GMT", "", 0},
		{"18446744073709551615", "18446744073709551615", 0},
		{"18446744073709551616", "", 0},
	} {
		var h header.Map
		if test.after != "" {
			h.AddName("retry-after", []byte(test.after))
		}
		if test.reset != "" {
			h.AddName("x-ratelimit-reset", []byte(test.reset))
		}
		if got := resetInterval(policy, &h, now); got != test.want {
			t.Errorf("retry-after %q, x-ratelimit-reset %q: %v, want %v", test.after, test.reset, got, test.want)
		}
	}
}
