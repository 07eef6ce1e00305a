package export

import (
	"bytes"
	"context"
	"errors"
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

// maxAnswer is how much of an answer is read, so that the connection can be used again, and at most given back.
const maxAnswer = 64 << 10

// ErrNoCluster is what Service answers where the proxy has no such cluster.
var ErrNoCluster = errors.New("there is no cluster")

// ErrAnswer is wrapped by the error of an answer whose head has come and whose body has not.
var ErrAnswer = errors.New("the answer ended early")

// Post sends a body. An answer that is not 2xx is an error.
func (p *Poster) Post(ctx context.Context, contentType string, body []byte) error {
	status, _, err := p.Ask(ctx, contentType, body, nil)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("%s answered %d %s", p.URL, status, http.StatusText(status))
	}
	return err
}

// Ask sends a body, with headers beside those of all requests, and returns the status and the body of the answer, of which nothing is kept when it is
// longer than 64 KiB.
func (p *Poster) Ask(ctx context.Context, contentType string, body []byte, headers map[string]string) (status int, answer []byte, err error) {
	if p.client == nil {
		client, end, err := p.Service.HTTP(ctx)
		if err != nil {
			return 0, nil, err
		}
		p.client, p.close = client, end
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", contentType)
	for _, set := range [...]map[string]string{p.Headers, headers} {
		for k, v := range set {
			if k == "host" || k == "Host" {
				req.Host = v
				continue
			}
			req.Header.Set(k, v)
		}
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.Close()
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return 0, nil, fmt.Errorf("%s: %w: %w", p.URL, ErrAnswer, err)
	}
	if len(answer) > maxAnswer {
		answer = nil
	}
	return resp.StatusCode, answer, nil
}

// Close ends the connections.
func (p *Poster) Close() {
	if p.client != nil {
		p.client.CloseIdleConnections()
		p.close()
		p.client, p.close = nil, nil
	}
}
