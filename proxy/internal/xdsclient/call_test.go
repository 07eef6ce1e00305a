package xdsclient

import (
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestMaxMessage: an answer that is larger than max_receive_message_length ends the stream, and the
// next one is opened.
func TestMaxMessage(t *testing.T) {
	f := startCall(t, DeltaADS, xdsresource.GRPCCall{MaxMessage: 100, BackOffBase: time.Millisecond})
	f.client.SubscribeAll(xdsresource.TypeCluster)
	next(t, "request", f.server.deltaIn)
	answer := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: xdsresource.TypeCluster, Nonce: "1", SystemVersionInfo: "v"}
	large := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: xdsresource.TypeCluster, Nonce: strings.Repeat("1", 100)}
	f.server.deltaOut <- large
	if r := next(t, "first request of the next stream", f.server.deltaIn); r.GetNode() == nil {
		t.Errorf("not a first request: %v", r)
	}
	f.server.deltaOut <- answer
	if b := next(t, "batch", f.got.batches); b.Version != "v" {
		t.Errorf("version %q", b.Version)
	}
}

// TestBackOff: the pause doubles from the base up to the longest, with jitter over its upper half.
func TestBackOff(t *testing.T) {
	c := New(Config{Call: xdsresource.GRPCCall{BackOffBase: 2 * time.Second, BackOffMax: 5 * time.Second}})
	for attempt, want := range []time.Duration{2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
		for range 100 {
			if d := c.backOff(attempt); d < want/2 || d > want {
				t.Fatalf("attempt %d: %v, want %v at most", attempt, d, want)
			}
		}
	}
}
