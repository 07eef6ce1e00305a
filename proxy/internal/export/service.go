package export

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Service reaches a cluster of the proxy: server makes them.
type Service interface {
	// GRPC prepares a connection to the endpoints that the cluster has now. close frees it.
	GRPC(ctx context.Context) (conn *grpc.ClientConn, close func(), err error)
	// HTTP likewise prepares a client.
	HTTP(ctx context.Context) (client *http.Client, close func(), err error)
}

// Conn keeps a gRPC connection between batches, and makes a new one after a failure.
type Conn struct {
	Service Service
	// Metadata goes with each call: each name with its value behind it.
	Metadata []string

	conn  *grpc.ClientConn
	close func()
}

// Get returns the connection, and the context for calls on it.
func (c *Conn) Get(ctx context.Context) (*grpc.ClientConn, context.Context, error) {
	if c.conn == nil {
		conn, end, err := c.Service.GRPC(ctx)
		if err != nil {
			return nil, ctx, err
		}
		c.conn, c.close = conn, end
	}
	if len(c.Metadata) > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, c.Metadata...)
	}
	return c.conn, ctx, nil
}

// Close ends the connection; Get makes a new one.
func (c *Conn) Close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.close()
		c.conn, c.close = nil, nil
	}
}

// Poster sends batches by HTTP.
type Poster struct {
	Service Service
	// URL is what is posted to; its host is only a name, the cluster says where it is.
	URL     string
	Headers map[string]string

	client *http.Client
	close  func()
}

// maxAnswer is how much of an answer is read, so that the connection can be used again.
const maxAnswer = 64 << 10

// Post sends a body. An answer that is not 2xx is an error.
func (p *Poster) Post(ctx context.Context, contentType string, body []byte) error {
	if p.client == nil {
		client, end, err := p.Service.HTTP(ctx)
		if err != nil {
			return err
		}
		p.client, p.close = client, end
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	for k, v := range p.Headers {
		if k == "host" || k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.Close()
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s answered %s", p.URL, resp.Status)
	}
	return nil
}

// Close ends the connections.
func (p *Poster) Close() {
	if p.client != nil {
		p.client.CloseIdleConnections()
		p.close()
		p.client, p.close = nil, nil
	}
}
