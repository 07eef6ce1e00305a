package tracing

import (
	"fmt"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// numbered is an id with a number.
func numbered(n uint32) string { return fmt.Sprintf("%08x-1111-4111-8111-111111111111", n) }

// TestRequestID: how a request's id decides, and what it says to the next hop.
func TestRequestID(t *testing.T) {
	const shares = 10 // percent, at random
	said := func(digit string) string { return "ffffffff-1111-" + digit + "111-8111-111111111111" }
	for _, tt := range []struct {
		name, id string
		more     []string
		overall  float64
		want     Reason
		out      string
	}{
		{"chance", numbered(999), nil, 100, Randomly, "000003e7-1111-9111-8111-111111111111"},
		{"no chance", numbered(1000), nil, 100, NotTraceable, numbered(1000)},
		{"of ten thousand", numbered(20_999), nil, 100, Randomly, "00005207-1111-9111-8111-111111111111"},
		{"forced", numbered(5000), []string{"x-envoy-force-trace", "1"}, 100, Forced, "00001388-1111-a111-8111-111111111111"},
		{"asked for", numbered(5000), []string{"x-client-trace-id", "1"}, 100, ByClient, "00001388-1111-b111-8111-111111111111"},
		{"sampled before", said("9"), nil, 100, Randomly, said("9")},
		{"forced before", said("a"), nil, 100, Forced, said("a")},
		{"asked for before", said("b"), nil, 100, ByClient, said("b")},
		{"sampled before, and forced now", said("9"), []string{"x-envoy-force-trace", "1"}, 100, Randomly, said("9")},
		{"sampled before, and the share of all is none", said("9"), nil, 0, NotTraceable, said("4")},
		{"sampled before, beyond the share of all", "000003e8-1111-9111-8111-111111111111", nil, 10, NotTraceable, numbered(1000)},
		{"a UUID of another version", "ffffffff-1111-7111-8111-111111111111", nil, 100, NotTraceable, "ffffffff-1111-7111-8111-111111111111"},
		{"a UUID of another version, by chance", "00000001-1111-7111-8111-111111111111", nil, 100, Randomly, "00000001-1111-9111-8111-111111111111"},
		{"no UUID, by chance", "00000001", nil, 100, Randomly, "00000001"},
		{"no UUID that looks sampled", "ffffffff-1111-9111-8111-1111", nil, 100, NotTraceable, "ffffffff-1111-9111-8111-1111"},
		{"no number", "checkout-1", []string{"x-envoy-force-trace", "1"}, 100, NotTraceable, "checkout-1"},
		{"a sign", "+0000001-1111-4111-8111-111111111111", nil, 100, NotTraceable, "+0000001-1111-4111-8111-111111111111"},
		{"short", "0000001", nil, 100, NotTraceable, "0000001"},
		{"empty", "", nil, 100, NotTraceable, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := headers(append(tt.more, "x-request-id", tt.id)...)
			p := NewPolicy(&xdsresource.Tracing{ClientSampling: 100, RandomSampling: shares, OverallSampling: tt.overall}, xdsresource.DirectionInbound, false)
			c, _, why := p.Start(h, &numbers{1, 2, 3, 4}, nil)
			if got := value(h, "x-request-id"); why != tt.want || got != tt.out || c.Wanted() != (why != NotTraceable) {
				t.Errorf("reason %d, id %q, sampled %v; want %d, %q", why, got, c.Wanted(), tt.want, tt.out)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		h := &header.Map{}
		h.AddString(header.XEnvoyForceTrace, "1")
		if _, _, why := NewPolicy(&xdsresource.Tracing{OverallSampling: 100}, xdsresource.DirectionInbound, false).Start(h, &numbers{1, 2, 3, 4}, nil); why != NotTraceable || h.Has(header.XRequestID) {
			t.Errorf("reason %d, id %q", why, value(h, "x-request-id"))
		}
	})
}

// TestHopsAgree: hops whose requests have one id and no context trace all of them or none, whatever their direction.
func TestHopsAgree(t *testing.T) {
	cfg := &xdsresource.Tracing{RandomSampling: 37.5, OverallSampling: 100}
	for n := range uint32(20_000) {
		_, _, first := NewPolicy(cfg, xdsresource.DirectionInbound, false).Start(headers("x-request-id", numbered(n)), &numbers{5, 6}, nil)
		_, _, second := NewPolicy(cfg, xdsresource.DirectionOutbound, false).Start(headers("x-request-id", numbered(n)), &numbers{7, 8}, nil)
		if want := n%10_000 < 3750; first != second || (first == Randomly) != want {
			t.Fatalf("%d: %v and %v", n, first, second)
		}
	}
}
