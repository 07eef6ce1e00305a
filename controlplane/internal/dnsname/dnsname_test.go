package dnsname

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAddresses(t *testing.T) {
	parse := func(texts ...string) (out []netip.Addr) {
		for _, s := range texts {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	many := make([]netip.Addr, maxAddresses+1)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
	}
	for _, tt := range []struct {
		found []netip.Addr
		want  []string
	}{
		{parse("192.0.2.2", "2001:db8::1", "192.0.2.1", "::ffff:192.0.2.2"), []string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}},
		{nil, nil}, {many, nil},
	} {
		got, err := addresses(tt.found)
		if !slices.Equal(got, tt.want) || (err == nil) != (tt.want != nil) {
			t.Errorf("%v: %v, %v", tt.found, got, err)
		}
	}
}

// What a name stands for is followed, and kept while it cannot be looked up.
func TestFollow(t *testing.T) {
	var mu sync.Mutex
	answer, failure := []netip.Addr{netip.MustParseAddr("192.0.2.1")}, error(nil)
	r := New(Options{Refresh: time.Millisecond, Lookup: func(_ context.Context, network, host string) ([]netip.Addr, error) {
		mu.Lock()
		defer mu.Unlock()
		if network != "ip" || host != "gw.example" {
			t.Errorf("asked for %s %s", network, host)
		}
		return answer, failure
	}})
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
	r.Follow([]string{"gw.example"})
	for _, step := range []struct {
		answer, want string
		failure      error
	}{{"192.0.2.1", "192.0.2.1", nil}, {"192.0.2.2", "192.0.2.2", nil}, {"192.0.2.3", "192.0.2.2", errors.New("no such host")}} {
		mu.Lock()
		answer, failure = []netip.Addr{netip.MustParseAddr(step.answer)}, step.failure
		mu.Unlock()
		for {
			var a Answer
			select {
			case all := <-told:
				a = all["gw.example"]
			case <-ctx.Done():
				t.Fatalf("%+v: not told", step)
			}
			if slices.Equal(a.Value, []string{step.want}) && (a.Problem != "") == (step.failure != nil) {
				break
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
