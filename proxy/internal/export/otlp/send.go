package otlp

import (
	"context"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/lateen-mesh/lateen/proxy/internal/export"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Methods of the collector.
const (
	logsMethod   = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
	tracesMethod = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
)

// client sends one message for each batch, by either transport.
type client struct {
	method string
	grpc   *export.Conn
	http   *export.Poster
	cfg    *xdsresource.HTTPService
}

func newClient(method string, svc export.Service, grpc *xdsresource.GRPCService, http *xdsresource.HTTPService) *client {
	if http != nil {
		return &client{cfg: http, http: &export.Poster{Service: svc, URL: http.URL, Headers: http.Headers}}
	}
	return &client{method: method, grpc: &export.Conn{Service: svc, Metadata: grpc.Call.Pairs()}}
}

func (c *client) send(ctx context.Context, m proto.Message) error {
	if c.http != nil {
		body, err := proto.Marshal(m)
		if err != nil {
			return err
		}
		if c.cfg.Timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, c.cfg.Timeout)
			defer cancel()
		}
		return c.http.Post(ctx, "application/x-protobuf", body)
	}
	conn, ctx, err := c.grpc.Get(ctx)
	if err != nil {
		return err
	}
	// The answer tells of records that were refused one by one, which nothing can be done about.
	if err := conn.Invoke(ctx, c.method, m, &emptypb.Empty{}); err != nil {
		c.grpc.Close()
		return err
	}
	return nil
}

func (c *client) close() {
	if c.http != nil {
		c.http.Close()
		return
	}
	c.grpc.Close()
}
