package agent

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// dial connects the agent itself to the control plane, with the workload's certificate.
func dial(cfg Config, s *secrets, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	config, err := newCAClient(cfg, s).tlsConfig(nil)
	if err != nil {
		return nil, err
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &s.current().Certificate, nil
	}
	return grpc.NewClient("passthrough:///"+cfg.Discovery, append(opts, grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithNoProxy(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}))...)
}

// keep has a stream to the control plane again and again until ctx ends; what is it for, for the log.
func keep(ctx context.Context, log *slog.Logger, what string, stream func(context.Context) error) {
	for failures := 0; ; failures++ {
		begin := time.Now()
		err := stream(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begin) > maxRetry {
			failures = 0
		}
		pause := retryWait(failures, rand.Float64())
		log.Debug("no stream for "+what+"; trying again", "error", err, "wait", pause.Round(time.Millisecond))
		if !wait(ctx, pause) {
			return
		}
	}
}

// openStream opens a stream of the agent's own to the control plane. It lasts until ctx ends; the connection is the caller's to close.
func openStream(ctx context.Context, cfg Config, s *secrets) (discoverypb.AggregatedDiscoveryService_StreamAggregatedResourcesClient, *grpc.ClientConn, error) {
	conn, err := dial(cfg, s)
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
