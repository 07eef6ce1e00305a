package xdsclient

import (
	"slices"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// What is applied and not warm is acknowledged later, in order; other types go on meanwhile.
func TestHeldUntilWarm(t *testing.T) {
	f := start(t, DeltaADS)
	warm := make(chan struct{})
	f.got.warm = warm
	f.client.SubscribeAll(xdsresource.TypeCluster)
	next(t, "request", f.server.deltaIn)
	for _, nonce := range []string{"1", "2"} {
		f.server.deltaOut <- &discoveryv3.DeltaDiscoveryResponse{
			TypeUrl: xdsresource.TypeCluster, Nonce: nonce, Resources: []*discoveryv3.Resource{deltaResource(t, nonce, goodCluster("c"))},
		}
		next(t, "batch", f.got.batches)
	}
	// The next request is another type's: nothing was acknowledged before it.
	f.client.Subscribe(xdsresource.TypeEndpoints, "c")
	if r := next(t, "request", f.server.deltaIn); r.GetTypeUrl() != xdsresource.TypeEndpoints {
		t.Fatalf("before it is warm: %v", r)
	}
	close(warm)
	for _, nonce := range []string{"1", "2"} {
		if r := next(t, "acknowledgement", f.server.deltaIn); r.GetResponseNonce() != nonce || r.GetErrorDetail() != nil {
			t.Fatalf("want the acknowledgement of %s, got %v", nonce, r)
		}
	}
}

// A refusal does not wait for what is warm, and in state of the world a new name waits for the acknowledgement, which carries it.
func TestHeldInStateOfTheWorld(t *testing.T) {
	f := start(t, SotwADS)
	warm := make(chan struct{})
	f.got.warm = warm
	f.client.Subscribe(xdsresource.TypeCluster, "a")
	next(t, "request", f.server.sotwIn)
	f.server.sotwOut <- &discoveryv3.DiscoveryResponse{
		TypeUrl: xdsresource.TypeCluster, Nonce: "1", VersionInfo: "v1", Resources: []*anypb.Any{pack(t, goodCluster("a"))},
	}
	next(t, "batch", f.got.batches)
	f.client.Subscribe(xdsresource.TypeCluster, "b")
	f.client.Subscribe(xdsresource.TypeEndpoints, "a")
	if r := next(t, "request", f.server.sotwIn); r.GetTypeUrl() != xdsresource.TypeEndpoints {
		t.Fatalf("before it is warm: %v", r)
	}
	close(warm)
	r := next(t, "acknowledgement", f.server.sotwIn)
	if r.GetResponseNonce() != "1" || r.GetVersionInfo() != "v1" || !slices.Equal(r.GetResourceNames(), []string{"a", "b"}) {
		t.Fatalf("acknowledgement = %v", r)
	}
	f.server.sotwOut <- &discoveryv3.DiscoveryResponse{
		TypeUrl: xdsresource.TypeCluster, Nonce: "2", VersionInfo: "v2", Resources: []*anypb.Any{pack(t, badCluster("b"))},
	}
	next(t, "batch", f.got.batches)
	if r := next(t, "refusal", f.server.sotwIn); r.GetResponseNonce() != "2" || r.GetVersionInfo() != "v1" || r.GetErrorDetail() == nil {
		t.Fatalf("refusal = %v", r)
	}
}

// A stream that ends before all is warm leaves nothing to acknowledge to the next one.
func TestHeldWhenTheStreamEnds(t *testing.T) {
	f := start(t, DeltaADS)
	f.got.warm = make(chan struct{}) // never
	f.client.SubscribeAll(xdsresource.TypeCluster)
	next(t, "request", f.server.deltaIn)
	f.server.deltaOut <- &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: xdsresource.TypeCluster, Nonce: "1", Resources: []*discoveryv3.Resource{deltaResource(t, "1", goodCluster("c"))},
	}
	next(t, "batch", f.got.batches)
	f.server.deltaOut <- nil
	r := next(t, "request", f.server.deltaIn)
	if r.GetResponseNonce() != "" || r.GetInitialResourceVersions()["c"] != "1" {
		t.Fatalf("the next stream's first request = %v", r)
	}
}
