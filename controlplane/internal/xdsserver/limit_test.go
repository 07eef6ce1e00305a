package xdsserver

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

func TestTurn(t *testing.T) {
	at := time.Unix(1000, 0)
	l := rate.NewLimiter(10, 2)
	for i, want := range []struct {
		after, wait time.Duration
		ok          bool
	}{
		{0, 0, true}, {0, 0, true}, {0, 100 * time.Millisecond, true}, {0, 200 * time.Millisecond, true}, {0, 0, false}, // the fifth would wait too long
		{250 * time.Millisecond, 50 * time.Millisecond, true}, {time.Hour, 0, true}, {0, 0, true}, {0, 100 * time.Millisecond, true},
	} {
		at = at.Add(want.after)
		wait, ok := turn(l, at, 200*time.Millisecond)
		if wait.Round(time.Millisecond) != want.wait || ok != want.ok {
			t.Errorf("token %d: wait %v, %v; want %v, %v", i, wait, ok, want.wait, want.ok)
		}
	}
}

func TestGate(t *testing.T) {
	now := time.Unix(1000, 0)
	web := spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "web"}
	other := spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "other"}
	g := newGate(Limits{Streams: 4, StreamsPerIdentity: 2, StreamsPerSecond: 100})
	refused := func(id spiffe.ID) string {
		_, err := g.enter(id, now)
		var r *refusal
		if errors.As(err, &r) {
			return r.reason
		}
		if err != nil {
			return err.Error()
		}
		return ""
	}
	for i, want := range []struct {
		id     spiffe.ID
		reason string
	}{{web, ""}, {web, ""}, {web, "identity"}, {other, ""}, {spiffe.ID{}, ""}, {spiffe.ID{}, "total"}, {other, "total"}} {
		if got := refused(want.id); got != want.reason {
			t.Errorf("stream %d: refused for %q, want %q", i, got, want.reason)
		}
	}
	g.leave(spiffe.ID{})
	g.leave(web)
	if got := refused(web); got != "" {
		t.Errorf("a place is free, and %q", got)
	}
	g.leave(web)
	g.leave(web)
	g.leave(other)
	if g.total != 0 || len(g.of) != 0 {
		t.Errorf("all have left, and %d, %v are there", g.total, g.of)
	}

	g = newGate(Limits{StreamsPerSecond: 10})
	in := 0
	for refused(web) == "" {
		in++
	}
	if got := refused(web); in != 20 || got != "rate" {
		t.Errorf("%d streams began in a second, then %q; want ten at once, ten that wait, and then none", in, got)
	}
}

// limited serves a server with limits on loopback, in plaintext; identity is who all callers are.
func limited(t *testing.T, opts Options) (discoverypb.AggregatedDiscoveryServiceClient, *Server) {
	t.Helper()
	opts.View = view(1, "")
	opts.Registerer = prometheus.NewRegistry()
	s := New(opts)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(ServerOptions()...)
	s.Register(server)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-done })
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return discoverypb.NewAggregatedDiscoveryServiceClient(conn), s
}

func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

var someNode = &corepb.Node{Id: "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local"}

func TestStreamsBeyondTheLimitAreRefused(t *testing.T) {
	c, s := limited(t, Options{Limits: Limits{Streams: 1}})
	ask := func() (discoverypb.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, context.CancelFunc, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		g, err := c.DeltaAggregatedResources(ctx)
		if err == nil {
			err = g.Send(&discoverypb.DeltaDiscoveryRequest{Node: someNode, TypeUrl: TypeCluster})
		}
		if err == nil {
			_, err = g.Recv()
		}
		return g, cancel, err
	}
	_, end, err := ask()
	if err != nil {
		t.Fatal(err)
	}
	_, cancel, err := ask()
	cancel()
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "--max-xds-streams") {
		t.Errorf("the second stream: %v", err)
	}
	if got := counted(t, s.metrics.refused.WithLabelValues("total")); got != 1 {
		t.Errorf("%v refusals are counted", got)
	}
	end() // its place is another's, once the server has noticed
	for deadline := time.Now().Add(time.Minute); ; {
		_, cancel, err := ask()
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no place became free: %v", err)
		}
	}
}

func TestSilentStreamsEnd(t *testing.T) {
	c, s := limited(t, Options{FirstWait: 20 * time.Millisecond})
	g, err := c.StreamAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Recv(); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a stream that says nothing: %v", err)
	}
	if got := counted(t, s.metrics.refused.WithLabelValues("silent")); got != 1 {
		t.Errorf("%v are counted", got)
	}
}

// Whoever asks too fast is read more slowly; nobody else is.
func TestFastRequestsAreReadSlowly(t *testing.T) {
	c, s := limited(t, Options{Limits: Limits{RequestsPerSecond: 500}})
	g, err := c.DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const more = 50
	for i := range firstRequests + more {
		req := &discoverypb.DeltaDiscoveryRequest{TypeUrl: TypeCluster}
		if i == 0 {
			req.Node = someNode
		}
		if err := g.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	// The answer to another type comes when all before it has been read.
	begun := time.Now()
	if err := g.Send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: TypeListener}); err != nil {
		t.Fatal(err)
	}
	for {
		resp, err := g.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if resp.GetTypeUrl() == TypeListener {
			break
		}
		if err := g.Send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()}); err != nil {
			t.Fatal(err)
		}
	}
	if got := counted(t, s.metrics.delayed); got == 0 {
		t.Errorf("no request was delayed in %v", time.Since(begun))
	}
}

func TestLimitsAreAsWritten(t *testing.T) {
	if got, want := (Limits{StreamsPerIdentity: 7}).withDefaults(), (Limits{50_000, 7, 10_000, 100}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
