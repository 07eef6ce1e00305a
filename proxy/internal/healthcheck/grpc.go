package healthcheck

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/http"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// grpcProber calls grpc.health.v1.Health/Check. Its two messages have one field each, so they
// are written and read here by hand.
type grpcProber struct {
	cfg   *xdsresource.GRPCHealthCheck
	host  string
	t     *http.Transport
	body  []byte
	reuse bool
}

func newGRPC(cfg *xdsresource.HealthCheck, d *dialer) *grpcProber {
	// HealthCheckRequest: service = 1.
	var msg []byte
	if s := cfg.GRPC.ServiceName; s != "" {
		msg = binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(s)))
		msg = append(msg, s...)
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(msg)))
	return &grpcProber{cfg: cfg.GRPC, host: d.t.Hostname, t: transport(d, cfg.ReuseConnection, true), body: append(frame, msg...), reuse: cfg.ReuseConnection}
}

func (p *grpcProber) Close() { p.t.CloseIdleConnections() }

func (p *grpcProber) Probe(ctx context.Context) Result {
	if !p.reuse {
		defer p.t.CloseIdleConnections()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://host/grpc.health.v1.Health/Check", bytes.NewReader(p.body))
	if err != nil {
		return Result{Outcome: Network}
	}
	req.Host = p.host
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Header.Set("User-Agent", userAgent)
	for _, h := range p.cfg.Metadata {
		if h.Append {
			req.Header.Add(h.Name, h.Value)
		} else {
			req.Header.Set(h.Name, h.Value)
		}
	}
	resp, err := p.t.RoundTrip(req)
	if err != nil {
		return Result{Outcome: Network}
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxDrain))
	if err != nil {
		return Result{Outcome: Network}
	}
	status := resp.Trailer.Get("Grpc-Status")
	if status == "" {
		status = resp.Header.Get("Grpc-Status") // an answer without a message
	}
	if resp.StatusCode != http.StatusOK || status != "0" || !serving(got) {
		return Result{Outcome: Active}
	}
	return Result{Degraded: resp.Header["X-Envoy-Degraded"] != nil}
}

// serving reads a HealthCheckResponse: status = 1, of which 1 is SERVING.
func serving(frame []byte) bool {
	if len(frame) < 5 || frame[0] != 0 || binary.BigEndian.Uint32(frame[1:]) != uint32(len(frame)-5) {
		return false
	}
	status := uint64(0)
	for msg := frame[5:]; len(msg) > 0; {
		tag, n := binary.Uvarint(msg)
		if n <= 0 || tag != 1<<3 {
			return false // no other field is known
		}
		v, m := binary.Uvarint(msg[n:])
		if m <= 0 {
			return false
		}
		status, msg = v, msg[n+m:]
	}
	return status == 1
}
