package server

import (
	"context"
	"fmt"
	"net/http"

	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/proxy/internal/export"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// clusterService reaches a cluster for what runs beside the workers: exporters (it is export.Service) and streams of secrets.
type clusterService struct {
	s       *Server
	cluster string
	call    xdsresource.GRPCCall // where it is one of gRPC
}

// dialer prepares to connect to the endpoints that the cluster has now.
func (e clusterService) dialer() (*xdsclient.Dialer, error) {
	c := e.s.clusters.Endpoints(e.cluster)
	if c == nil {
		// Clusters of config sources are known to the xDS client alone.
		if c = e.s.boot.Control[e.cluster]; c == nil {
			return nil, fmt.Errorf("%w %q", export.ErrNoCluster, e.cluster)
		}
	}
	return xdsclient.NewDialer(c, e.call, e.s.secrets)
}

// GRPC implements export.Service.
func (e clusterService) GRPC(ctx context.Context) (*grpc.ClientConn, func(), error) {
	d, err := e.dialer()
	if err != nil {
		return nil, nil, err
	}
	conn, err := d.Dial(ctx)
	if err != nil {
		d.Close()
		return nil, nil, err
	}
	return conn, d.Close, nil
}

// HTTP implements export.Service.
func (e clusterService) HTTP(ctx context.Context) (*http.Client, func(), error) {
	d, err := e.dialer()
	if err != nil {
		return nil, nil, err
	}
	t, err := d.Transport(ctx)
	if err != nil {
		d.Close()
		return nil, nil, err
	}
	return &http.Client{Transport: t}, d.Close, nil
}
