package statefulsession

import (
	"testing"
	"time"
)

func TestCookieValue(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, end := range []time.Time{{}, now, now.Add(time.Hour)} {
		if got := cookieAddress(string(cookieValue("10.0.0.1:80", end)), now); got != "10.0.0.1:80" {
			t.Errorf("until %v: %q", end, got)
		}
	}
	if got := cookieAddress(string(cookieValue("10.0.0.1:80", now.Add(-time.Second))), now); got != "" {
		t.Errorf("after its end: %q", got)
	}
}

// FuzzCookie: whatever a client sends is an address or none; what we have made is read again.
func FuzzCookie(f *testing.F) {
	for _, s := range []string{"", "10.0.0.1:80", "\x0a\x01x\x10\x05", "\x0a\xff", "\x0b\x0c", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		f.Add(s)
	}
	now := time.Unix(1000, 0)
	f.Fuzz(func(t *testing.T, s string) {
		address := cookieAddress(s, now)
		if again := cookieAddress(string(cookieValue(address, now)), now); again != address {
			// A text that is no valid UTF-8 cannot be written in the message, and never names a host.
			for _, r := range address {
				if r == '\uFFFD' {
					return
				}
			}
			t.Errorf("%q was read as %q, and that as %q", s, address, again)
		}
	})
}
