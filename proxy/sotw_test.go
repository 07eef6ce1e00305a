package proxy

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// world is a small control plane over state-of-the-world ADS: of a type, a stream gets all that it wants whenever any of it changes.
type world struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	t    *testing.T
	addr string

	mu        sync.Mutex
	version   int
	resources map[string]map[string]*anypb.Any
	refusals  map[string]string   // the last NACK of each type
	wants     map[string][]string // the names that were asked for last; none: all
	changed   chan struct{}       // closed with each change
}

func startWorld(t *testing.T) *world {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, addr: lis.Addr().String(), resources: map[string]map[string]*anypb.Any{}, refusals: map[string]string{},
		wants: map[string][]string{}, changed: make(chan struct{})}
	srv := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(srv, w)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(lis) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	return w
}

// set makes m the resources of a type.
func (w *world) set(url string, m map[string]proto.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resources[url] = map[string]*anypb.Any{}
	for name, r := range m {
		raw, err := anypb.New(r)
		if err != nil {
			w.t.Fatal(err)
		}
		w.resources[url][name] = raw
	}
	w.version++
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) refusal(url string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refusals[url]
}

func (w *world) wanted(url string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.wants[url], " ")
}

// StreamAggregatedResources implements discoveryv3.AggregatedDiscoveryServiceServer.
func (w *world) StreamAggregatedResources(st discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	requests := make(chan *discoveryv3.DiscoveryRequest, 64)
	go func() {
		defer close(requests)
		for {
			r, err := st.Recv()
			if err != nil {
				return
			}
			requests <- r
		}
	}()
	names, sent := map[string][]string{}, map[string]string{}
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		for url := range names {
			if r := w.response(url, names[url]); r != nil && sent[url] != fmt.Sprint(r.GetVersionInfo(), names[url]) {
				sent[url] = fmt.Sprint(r.GetVersionInfo(), names[url])
				if err := st.Send(r); err != nil {
					return err
				}
			}
		}
		select {
		case r, ok := <-requests:
			if !ok {
				return nil
			}
			w.mu.Lock()
			slices.Sort(r.GetResourceNames())
			names[r.GetTypeUrl()], w.wants[r.GetTypeUrl()] = r.GetResourceNames(), r.GetResourceNames()
			if r.GetResponseNonce() != "" {
				w.refusals[r.GetTypeUrl()] = r.GetErrorDetail().GetMessage()
			}
			w.mu.Unlock()
		case <-changed:
		}
	}
}

// response is all that a stream wants of a type, nil while there is nothing of that type.
func (w *world) response(url string, names []string) *discoveryv3.DiscoveryResponse {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.resources[url]
	if all == nil {
		return nil
	}
	v := fmt.Sprint(w.version)
	out := &discoveryv3.DiscoveryResponse{VersionInfo: v, Nonce: v, TypeUrl: url}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if len(names) == 0 || slices.Contains(names, name) {
			out.Resources = append(out.Resources, all[name])
		}
	}
	return out
}
