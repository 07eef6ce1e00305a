package health

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os/exec"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Targets say where the application is that serves a port of the workload, where it is elsewhere than at the probe's default, localhost. A host that the
// probe names is taken as it is.
type Targets map[uint32]netip.AddrPort

func (t Targets) address(host string, port uint32) string {
	if at, ok := t[port]; ok && host == "" {
		return at.String()
	}
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10))
}

// Ask asks the application once. nil means that it is well; the error says why not. It ends with ctx.
func (p *Probe) Ask(ctx context.Context, t Targets) error {
	switch {
	case p.HTTPGet != nil:
		return p.HTTPGet.ask(ctx, t)
	case p.TCPSocket != nil:
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.address(p.TCPSocket.Host, p.TCPSocket.Port))
		if err != nil {
			return err
		}
		return conn.Close()
	case p.Exec != nil:
		return p.Exec.ask(ctx)
	case p.GRPC != nil:
		return p.GRPC.ask(ctx, t)
	}
	return nil
}

func (g *HTTPGet) ask(ctx context.Context, t Targets) error {
	u, err := url.Parse(g.Path)
	if err != nil {
		u = &url.URL{Path: g.Path}
	}
	u.Scheme, u.Host = "http", t.address(g.Host, g.Port)
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path
	}
	// A connection for each question: one that is kept says nothing of whether the application accepts others.
	transport := &http.Transport{DisableKeepAlives: true}
	if strings.EqualFold(g.Scheme, "https") {
		u.Scheme = "https"
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // as Kubernetes: the question is whether it answers
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "istio-probe/1.0")
	for i, h := range g.HTTPHeaders {
		switch {
		case strings.EqualFold(h.Name, "host"):
			req.Host = h.Value
		case first(g.HTTPHeaders[:i], h.Name):
			req.Header.Set(h.Name, h.Value) // in place of what is there by default
		default:
			req.Header.Add(h.Name, h.Value)
		}
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("%s answers %d", u, resp.StatusCode)
	}
	return nil
}

// first says that no header before has the name.
func first(before []Header, name string) bool {
	for _, h := range before {
		if strings.EqualFold(h.Name, name) {
			return false
		}
	}
	return true
}

func (e *Exec) ask(ctx context.Context) error {
	if err := exec.CommandContext(ctx, e.Command[0], e.Command[1:]...).Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("%s: %w", e.Command[0], err)
	}
	return nil
}

func (g *GRPC) ask(ctx context.Context, t Targets) error {
	at := t.address("", g.Port)
	conn, err := grpc.NewClient("passthrough:///"+at, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return err
	}
	defer conn.Close()
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: g.Service})
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if s := resp.GetStatus(); s != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("%s says %s", at, s)
	}
	return nil
}
