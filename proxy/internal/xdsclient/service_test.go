package xdsclient

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestServices holds which method is called for each type and protocol.
func TestServices(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	methods := make(chan string, 16)
	srv := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, st grpc.ServerStream) error {
		m, _ := grpc.MethodFromServerStream(st)
		methods <- m
		return status.Error(codes.Unimplemented, "only the name counts")
	}))
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(lis) }()
	defer func() { srv.Stop(); <-served }()

	f := func(url string, delta bool, want string) {
		t.Helper()
		c := New(Config{
			Node: &corev3.Node{Id: "n"}, Protocol: ServiceOf(url, delta), Handler: &recorder{}, Log: slog.New(slog.DiscardHandler),
			Dial: func(context.Context) (*grpc.ClientConn, error) {
				return grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			},
			Call: xdsresource.GRPCCall{BackOffBase: time.Hour, BackOffMax: time.Hour},
		})
		c.Subscribe(url, "x")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = c.Run(ctx) }()
		select {
		case got := <-methods:
			if got != want {
				t.Errorf("%s, delta %v: called %s, want %s", url, delta, got, want)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s, delta %v: nothing was called", url, delta)
		}
		cancel()
		<-done
	}
	f(xdsresource.TypeListener, false, "/envoy.service.listener.v3.ListenerDiscoveryService/StreamListeners")
	f(xdsresource.TypeListener, true, "/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners")
	f(xdsresource.TypeCluster, false, "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters")
	f(xdsresource.TypeCluster, true, "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters")
	f(xdsresource.TypeRoute, false, "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes")
	f(xdsresource.TypeRoute, true, "/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes")
	f(xdsresource.TypeEndpoints, false, "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints")
	f(xdsresource.TypeEndpoints, true, "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints")
	f(xdsresource.TypeSecret, false, "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets")
	f(xdsresource.TypeSecret, true, "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets")
}
