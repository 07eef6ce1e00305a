package agent

import (
	"context"
	"crypto/tls"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// openStream opens a stream of the agent's own to the control plane, with the workload's certificate. It lasts until ctx ends; the connection is
// the caller's to close.
func openStream(ctx context.Context, cfg Config, s *secrets) (discoverypb.AggregatedDiscoveryService_StreamAggregatedResourcesClient, *grpc.ClientConn, error) {
	config, err := newCAClient(cfg).tlsConfig()
	if err != nil {
		return nil, nil, err
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &s.current().Certificate, nil
	}
	conn, err := grpc.NewClient("passthrough:///"+cfg.Discovery, grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithNoProxy(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}))
	if err != nil {
		return nil, nil, err
	}
	ads, err := discoverypb.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return ads, conn, nil
}
