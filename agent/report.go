package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/lateen-mesh/lateen/agent/health"
)

// The types of Istio's agent: what it is told, and what it says.
const (
	proxyConfigType = "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig"
	healthType      = "type.googleapis.com/istio.v1.HealthInformation"
	bootstrapType   = "type.googleapis.com/envoy.config.bootstrap.v3.Bootstrap"
)

// unhealthyCode is that of a workload that is not well, as Istio's agent sends it.
const unhealthyCode = 500

// reporter keeps the agent's own stream to the control plane, beside the proxy's. On it the agent is told the mesh's roots and its probe, and tells whether
// the workload is well: what has changed, and on a new stream what was told last.
type reporter struct {
	cfg     Config
	secrets *secrets
	node    *corepb.Node

	probes chan *health.Probe // of the control plane; the last counts
	merge  func(on bool)      // is told whether the application's metrics are merged; nil: the host has said

	mu   sync.Mutex
	said *saying       // nil: nothing yet
	news chan struct{} // one place: said has changed
}

// saying is what is told of the workload.
type saying struct {
	healthy bool
	why     string
}

func newReporter(cfg Config, s *secrets, node *corepb.Node) *reporter {
	return &reporter{cfg: cfg, secrets: s, node: node, probes: make(chan *health.Probe, 1), news: make(chan struct{}, 1)}
}

// check asks until ctx ends: by the probe of the agent's own configuration, else by that which the control plane tells.
func (r *reporter) check(ctx context.Context) error {
	if r.cfg.Probe != nil {
		health.Check(ctx, r.cfg.Probe, r.cfg.ProbeTargets, r.ready, r.say)
		return nil
	}
	var probe *health.Probe
	select {
	case probe = <-r.probes: // until it is known whether there is one, the workload is neither well nor unwell
	case <-ctx.Done():
		return nil
	}
	for ctx.Err() == nil {
		one, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.checkAs(one, probe)
		}()
		select {
		case probe = <-r.probes:
		case <-ctx.Done():
		}
		cancel()
		<-done
	}
	return nil
}

// checkAs asks by a probe that came from elsewhere. What it may not do here is not done, and the workload is not well.
func (r *reporter) checkAs(ctx context.Context, p *health.Probe) {
	if p != nil && p.Exec != nil && !r.cfg.ExecProbes {
		r.cfg.Logger.Warn("the WorkloadGroup's probe is a command, which is not run here; start with --exec-probes to allow it", "command", p.Exec.Command)
		r.say(false, "the probe is a command, and this host does not run commands of the control plane (--exec-probes)")
		<-ctx.Done()
		return
	}
	health.Check(ctx, p, r.cfg.ProbeTargets, r.ready, r.say)
}

// ready asks the proxy whether it serves; it does not any more when its admin API was told so (/healthcheck/fail).
func (r *reporter) ready(ctx context.Context) error {
	at := netip.AddrPortFrom(r.cfg.AdminIP, r.cfg.AdminPort)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+"/ready", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/ready answers %d", resp.StatusCode)
	}
	return nil
}

func (r *reporter) say(healthy bool, why string) {
	r.cfg.Logger.Info("workload's health", "healthy", healthy, "why", why)
	r.mu.Lock()
	r.said = &saying{healthy, why}
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

func (r *reporter) saying() *saying {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said
}

// run keeps a stream to the control plane until ctx ends.
func (r *reporter) run(ctx context.Context) error {
	keep(ctx, r.cfg.Logger, "the agent", r.stream)
	return nil
}

// stream is one connection: it subscribes to the agent's configuration and tells what there is to tell.
func (r *reporter) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ads, conn, err := openStream(ctx, r.cfg, r.secrets)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := ads.Send(&discoverypb.DiscoveryRequest{Node: r.node, TypeUrl: proxyConfigType}); err != nil {
		return err
	}
	received := make(chan *discoverypb.DiscoveryResponse)
	ended := make(chan error, 1)
	go func() {
		for {
			resp, err := ads.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case received <- resp:
			case <-ctx.Done():
				ended <- ctx.Err()
				return
			}
		}
	}()
	defer func() { cancel(); <-ended }()
	var told *saying
	for {
		if s := r.saying(); s != nil && s != told {
			if err := ads.Send(s.request()); err != nil {
				return streamEnd(err, ended)
			}
			told = s
		}
		select {
		case resp := <-received:
			if err := ads.Send(r.take(resp)); err != nil {
				return streamEnd(err, ended)
			}
		case <-r.news:
		case err := <-ended:
			ended <- err // for the deferred wait
			return err
		}
	}
}

// streamEnd is why a stream ended whose Send failed: Recv knows.
func streamEnd(err error, ended chan error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	err = <-ended
	ended <- err
	return err
}

// take takes the agent's configuration, and returns the answer to it.
func (r *reporter) take(resp *discoverypb.DiscoveryResponse) *discoverypb.DiscoveryRequest {
	answer := &discoverypb.DiscoveryRequest{TypeUrl: resp.GetTypeUrl(), VersionInfo: resp.GetVersionInfo(), ResponseNonce: resp.GetNonce()}
	var probe *health.Probe
	var roots []anchor
	merge := true
	for _, res := range resp.GetResources() {
		p, err := health.FromProxyConfig(res.GetValue())
		if err == nil {
			roots, err = trustBundle(res.GetValue())
		}
		if err == nil {
			merge, err = readMerge(res.GetValue())
		}
		if err != nil {
			r.cfg.Logger.Error("the control plane's configuration of the agent is not valid; the last one stays", "error", err)
			answer.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: err.Error()}
			return answer
		}
		probe = p
	}
	r.secrets.trust(roots)
	if r.merge != nil {
		r.merge(merge)
	}
	select { // of several that nobody has taken up the last counts
	case <-r.probes:
	default:
	}
	r.probes <- probe
	return answer
}

func (s *saying) request() *discoverypb.DiscoveryRequest {
	req := &discoverypb.DiscoveryRequest{TypeUrl: healthType}
	if !s.healthy {
		req.ErrorDetail = &statuspb.Status{Code: unhealthyCode, Message: s.why}
	}
	return req
}
