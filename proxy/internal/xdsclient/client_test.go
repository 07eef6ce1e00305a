package xdsclient

import (
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// controlPlane is a scripted ADS server: requests come out of a channel, responses go into one.
type controlPlane struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	deltaIn  chan *discoveryv3.DeltaDiscoveryRequest
	deltaOut chan *discoveryv3.DeltaDiscoveryResponse // nil ends the stream
	sotwIn   chan *discoveryv3.DiscoveryRequest
	sotwOut  chan *discoveryv3.DiscoveryResponse
}

func (s *controlPlane) DeltaAggregatedResources(st discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	go func() {
		for {
			r, err := st.Recv()
			if err != nil {
				return
			}
			select {
			case s.deltaIn <- r:
			case <-st.Context().Done():
				return
			}
		}
	}()
	for {
		select {
		case <-st.Context().Done():
			return nil
		case r := <-s.deltaOut:
			if r == nil {
				return io.ErrUnexpectedEOF
			}
			if err := st.Send(r); err != nil {
				return err
			}
		}
	}
}

func (s *controlPlane) StreamAggregatedResources(st discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	go func() {
		for {
			r, err := st.Recv()
			if err != nil {
				return
			}
			select {
			case s.sotwIn <- r:
			case <-st.Context().Done():
				return
			}
		}
	}()
	for {
		select {
		case <-st.Context().Done():
			return nil
		case r := <-s.sotwOut:
			if err := st.Send(r); err != nil {
				return err
			}
		}
	}
}

// recorder keeps what a client hands over.
type recorder struct {
	batches chan Batch
	refuse  map[string]error
	warm    chan struct{} // until it is closed nothing is warm; nil: all is
	up      chan bool
}

func (r *recorder) Update(b Batch) (map[string]error, <-chan struct{}) {
	r.batches <- b
	return r.refuse, r.warm
}

func (r *recorder) Failed(string, error) {}

func (r *recorder) Connected(up bool, _ error) {
	select {
	case r.up <- up:
	default:
	}
}

type fixture struct {
	t      *testing.T
	server *controlPlane
	client *Client
	got    *recorder
}

func start(t *testing.T, p Protocol) *fixture {
	t.Helper()
	return startCall(t, p, xdsresource.GRPCCall{BackOffBase: time.Millisecond, BackOffMax: 10 * time.Millisecond})
}

func startCall(t *testing.T, p Protocol, call xdsresource.GRPCCall) *fixture {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	cp := &controlPlane{
		deltaIn: make(chan *discoveryv3.DeltaDiscoveryRequest, 16), deltaOut: make(chan *discoveryv3.DeltaDiscoveryResponse, 16),
		sotwIn: make(chan *discoveryv3.DiscoveryRequest, 16), sotwOut: make(chan *discoveryv3.DiscoveryResponse, 16),
	}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(srv, cp)
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(lis) }()

	d, err := NewDialer(&xdsresource.Cluster{
		Name: "xds-grpc", ConnectTimeout: time.Second,
		Endpoints: &xdsresource.Endpoints{Localities: []xdsresource.LocalityEndpoints{{Endpoints: []xdsresource.Endpoint{{
			Address: addressOf(lis.Addr().(*net.TCPAddr)),
		}}}}},
	}, call, nil)
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{batches: make(chan Batch, 16), up: make(chan bool, 16)}
	c := New(Config{
		Node: &corev3.Node{Id: "sidecar~1"}, Protocol: p, Dial: d.Dial,
		Decoder: xdsresource.NewDecoder(xdsresource.Extensions{}), Handler: rec,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Call: call,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; d.Close(); srv.Stop(); <-served })
	return &fixture{t, cp, c, rec}
}

func addressOf(a *net.TCPAddr) xdsresource.Address {
	ap := a.AddrPort()
	return xdsresource.Address{IP: ap.Addr().Unmap(), Port: ap.Port()}
}

// next takes from a channel, or fails the test after a while that no healthy run needs.
func next[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("no %s came", what)
		panic("unreachable")
	}
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func goodCluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{Name: name, ConnectTimeout: durationpb.New(time.Second)}
}

func badCluster(name string) *clusterv3.Cluster {
	c := goodCluster(name)
	c.LrsServer = &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Self{}}
	return c
}

func deltaResource(t *testing.T, version string, m interface {
	proto.Message
	GetName() string
}) *discoveryv3.Resource {
	return &discoveryv3.Resource{Name: m.GetName(), Version: version, Resource: pack(t, m)}
}

func TestDelta(t *testing.T) {
	f := start(t, DeltaADS)
	f.client.SubscribeAll(xdsresource.TypeCluster)
	req := next(t, "request", f.server.deltaIn)
	if req.GetNode().GetId() != "sidecar~1" || req.GetTypeUrl() != xdsresource.TypeCluster || len(req.GetResourceNamesSubscribe()) != 0 {
		t.Fatalf("first request = %v", req)
	}

	// A bad cluster is refused by name and field; the good one beside it is taken.
	f.server.deltaOut <- &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: xdsresource.TypeCluster, Nonce: "1", SystemVersionInfo: "v1",
		Resources: []*discoveryv3.Resource{deltaResource(t, "a1", goodCluster("a")), deltaResource(t, "b1", badCluster("b"))},
	}
	b := next(t, "batch", f.got.batches)
	if len(b.Changed) != 1 || b.Changed[0].Name != "a" || len(b.Failed) != 1 || b.Failed[0].Name != "b" {
		t.Fatalf("batch = %+v", b)
	}
	req = next(t, "answer", f.server.deltaIn)
	detail := req.GetErrorDetail().GetMessage()
	if req.GetResponseNonce() != "1" || !strings.Contains(detail, `cluster "b": lrs_server`) || strings.Contains(detail, `"a"`) {
		t.Fatalf("NACK = %v", req)
	}
	if req.GetNode() != nil {
		t.Error("the node went out twice")
	}

	// Names are subscribed and taken back while the stream runs.
	f.client.Subscribe(xdsresource.TypeEndpoints, "a")
	req = next(t, "request", f.server.deltaIn)
	if !slices.Equal(req.GetResourceNamesSubscribe(), []string{"a"}) {
		t.Fatalf("request = %v", req)
	}
	f.client.Subscribe(xdsresource.TypeEndpoints, "x")
	next(t, "request", f.server.deltaIn)
	f.server.deltaOut <- &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: xdsresource.TypeEndpoints, Nonce: "2",
		Resources: []*discoveryv3.Resource{{Name: "a", Version: "e1", Resource: pack(t, &endpointv3.ClusterLoadAssignment{ClusterName: "a"})}},
	}
	next(t, "batch", f.got.batches)
	if req = next(t, "ack", f.server.deltaIn); req.GetErrorDetail() != nil || req.GetResponseNonce() != "2" {
		t.Fatalf("ACK = %v", req)
	}
	f.client.Unsubscribe(xdsresource.TypeEndpoints, "x")
	if req = next(t, "request", f.server.deltaIn); !slices.Equal(req.GetResourceNamesUnsubscribe(), []string{"x"}) {
		t.Fatalf("request = %v", req)
	}

	// After a broken stream: the node again, and the versions that are held.
	f.server.deltaOut <- nil
	req = next(t, "request", f.server.deltaIn)
	if req.GetNode() == nil || len(req.GetInitialResourceVersions()) != 1 || req.GetInitialResourceVersions()["a"] != "a1" {
		t.Fatalf("first request of the second stream = %v", req)
	}
	req = next(t, "request", f.server.deltaIn)
	if !slices.Equal(req.GetResourceNamesSubscribe(), []string{"a"}) || req.GetInitialResourceVersions()["a"] != "e1" {
		t.Fatalf("second request of the second stream = %v", req)
	}
}

func TestDeltaHandlerRefuses(t *testing.T) {
	f := start(t, DeltaADS)
	f.got.refuse = map[string]error{"a": io.ErrShortBuffer}
	f.client.SubscribeAll(xdsresource.TypeCluster)
	next(t, "request", f.server.deltaIn)
	f.server.deltaOut <- &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: xdsresource.TypeCluster, Nonce: "1",
		Resources: []*discoveryv3.Resource{deltaResource(t, "1", goodCluster("a"))},
	}
	if req := next(t, "answer", f.server.deltaIn); !strings.Contains(req.GetErrorDetail().GetMessage(), "a: short buffer") {
		t.Fatalf("answer = %v", req)
	}
}

func TestStateOfTheWorld(t *testing.T) {
	f := start(t, SotwADS)
	f.client.SubscribeAll(xdsresource.TypeCluster)
	next(t, "request", f.server.sotwIn)
	send := func(version string, clusters ...*clusterv3.Cluster) Batch {
		r := &discoveryv3.DiscoveryResponse{TypeUrl: xdsresource.TypeCluster, VersionInfo: version, Nonce: version}
		for _, c := range clusters {
			r.Resources = append(r.Resources, pack(t, c))
		}
		f.server.sotwOut <- r
		return next(t, "batch", f.got.batches)
	}
	send("1", goodCluster("a"), goodCluster("b"))
	if req := next(t, "ack", f.server.sotwIn); req.GetVersionInfo() != "1" || req.GetErrorDetail() != nil {
		t.Fatalf("ACK = %v", req)
	}
	// A refused version keeps the last good one in the answer. What is missing is removed,
	// what is bad is not: its last good form stays.
	b := send("2", badCluster("a"))
	if !slices.Equal(b.Removed, []string{"b"}) || len(b.Failed) != 1 {
		t.Fatalf("batch = %+v", b)
	}
	if req := next(t, "nack", f.server.sotwIn); req.GetVersionInfo() != "1" || req.GetResponseNonce() != "2" || req.GetErrorDetail() == nil {
		t.Fatalf("NACK = %v", req)
	}
}

// TestBesideAll: a name beside everything is subscribed as that, and a new stream asks for both.
func TestBesideAll(t *testing.T) {
	f := start(t, DeltaADS)
	f.client.SubscribeAll(xdsresource.TypeCluster)
	next(t, "request", f.server.deltaIn)
	f.client.Subscribe(xdsresource.TypeCluster, "a")
	if req := next(t, "request", f.server.deltaIn); !slices.Equal(req.GetResourceNamesSubscribe(), []string{"a"}) {
		t.Fatalf("request = %v", req)
	}
	f.server.deltaOut <- nil
	if req := next(t, "request", f.server.deltaIn); !slices.Equal(req.GetResourceNamesSubscribe(), []string{"*", "a"}) {
		t.Fatalf("first request of the second stream = %v", req)
	}
	f.client.Unsubscribe(xdsresource.TypeCluster, "a")
	if req := next(t, "request", f.server.deltaIn); !slices.Equal(req.GetResourceNamesUnsubscribe(), []string{"a"}) {
		t.Fatalf("request = %v", req)
	}
}

func TestBesideAllStateOfTheWorld(t *testing.T) {
	f := start(t, SotwADS)
	f.client.SubscribeAll(xdsresource.TypeCluster)
	if req := next(t, "request", f.server.sotwIn); len(req.GetResourceNames()) != 0 {
		t.Fatalf("request = %v", req)
	}
	f.client.Subscribe(xdsresource.TypeCluster, "a")
	if req := next(t, "request", f.server.sotwIn); !slices.Equal(req.GetResourceNames(), []string{"*", "a"}) {
		t.Fatalf("request = %v", req)
	}
	f.client.Unsubscribe(xdsresource.TypeCluster, "a")
	if req := next(t, "request", f.server.sotwIn); !slices.Equal(req.GetResourceNames(), []string{"*"}) {
		t.Fatalf("request = %v", req)
	}
}
