package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/pkg/lifecycle"
)

// maxSocketPath is how long the path of a Unix socket may be: sun_path has 108 bytes on Linux, 104 on macOS, with a final zero.
const maxSocketPath = 103

// Agent is one workload's.
type Agent struct {
	cfg     Config
	secrets *secrets
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Agent, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	s := newSecrets()
	if cfg.signer == nil {
		cfg.signer = newCAClient(cfg, s)
	}
	return &Agent{cfg: cfg, secrets: s}, nil
}

// Run gets a certificate, then runs the proxy and keeps the certificate fresh, until ctx ends or the proxy fails. While the control
// plane cannot be reached it tries again and again, without end.
func (a *Agent) Run(ctx context.Context) error {
	r := &renewer{cfg: a.cfg, secrets: a.secrets, before: a.provisioned()}
	if err := r.obtain(ctx); err != nil {
		return ctxError(ctx, err)
	}
	socket, cleanup, err := a.socketPath()
	if err != nil {
		return err
	}
	defer cleanup()
	cfg := a.cfg.member(a.secrets.current()).withSettings(ctx, a.secrets)
	cfg = cfg.withHostDefaults()
	if err := cfg.validateMetrics(); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	bootstrap, err := cfg.bootstrap(socket)
	if err != nil {
		return err
	}
	dns, err := cfg.listenDNS()
	if err != nil {
		return err
	}
	sds, err := listenSDS(socket, a.secrets, a.cfg.Logger)
	if err != nil {
		if dns != nil {
			dns.Close()
		}
		return err
	}
	// What runs goes on while the proxy's clients are told to leave.
	g := lifecycle.NewGroup(context.WithoutCancel(ctx))
	g.Go("end", func(running context.Context) error {
		defer g.Stop()
		select {
		case <-running.Done():
		case <-ctx.Done():
			cfg.drain(running)
		}
		return nil
	})
	g.Go("serve secrets", sds.run)
	if dns != nil {
		g.Go("serve names", dns.Run)
		n, err := newNames(cfg, a.secrets, dns)
		if err != nil {
			g.Stop()
			return errors.Join(err, g.Wait())
		}
		g.Go("keep the names of the mesh", n.run)
		n.await(ctx)
	}
	node, err := cfg.node()
	if err != nil {
		g.Stop()
		return errors.Join(err, g.Wait())
	}
	rep := newReporter(cfg, a.secrets, node)
	if s := cfg.listenStatus(rep.ready); s != nil {
		g.Go("serve metrics", s.Run)
		if _, said := a.cfg.Metadata[mergeMetadata]; !said {
			rep.merge = s.SetMerge
		}
	}
	g.Go("keep the stream of the agent", rep.run)
	if cfg.Group != "" || cfg.Probe != nil {
		g.Go("check the workload's health", rep.check)
	}
	g.Go("renew the certificate", r.run)
	if cfg.OutputDir != "" {
		g.Go("write the certificate", a.keepFiles)
	}
	g.Go("proxy", func(ctx context.Context) error {
		defer g.Stop() // a proxy that ends well ends its agent
		return cfg.RunProxy(ctx, ProxyRun{
			Bootstrap: bootstrap, Concurrency: cfg.Concurrency, DrainTime: cfg.DrainTime, FileFlushInterval: cfg.FileFlushInterval, FileFlushSize: cfg.FileFlushSize,
		})
	})
	return g.Wait()
}

// drain has the proxy tell its clients to leave, and waits for as long as they are given, or until the proxy has ended.
func (c Config) drain(running context.Context) {
	if c.TerminationDrain <= 0 {
		return
	}
	path := "/drain_listeners?graceful&inboundonly"
	if c.Type == Router {
		path = "/drain_listeners?graceful" // all of its listeners are for others
	}
	c.Logger.Info("draining", "time", c.TerminationDrain)
	if err := c.tellProxy(running, path); err != nil {
		c.Logger.Warn("the proxy does not drain", "error", err) // and serves all the same
	}
	wait(running, c.TerminationDrain)
}

// tellTimeout bounds a request to the proxy's admin API.
const tellTimeout = 2 * time.Second

// tellProxy tells the proxy something by its admin API.
func (c Config) tellProxy(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+netip.AddrPortFrom(c.AdminIP, c.AdminPort).String()+path, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", path, resp.StatusCode)
	}
	return nil
}

// provisioned is the certificate that the host was given, nil for none that can be used.
func (a *Agent) provisioned() *Identity {
	if a.cfg.ProvisionedDir == "" {
		return nil
	}
	id, err := readIdentity(a.cfg.ProvisionedDir, a.cfg.identity(), time.Now())
	if err != nil {
		a.cfg.Logger.Warn("the provisioned certificate is of no use; the token is", "error", err)
		return nil
	}
	return id
}

// ctxError is nil when the context's end explains the error.
func ctxError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// socketPath makes the folder of the SDS socket, Istio's workload-spiffe-uds, in the agent's own folder, or in one with a shorter
// path where that would not fit.
func (a *Agent) socketPath() (string, func(), error) {
	dir, err := filepath.Abs(a.cfg.Dir)
	if err != nil {
		return "", nil, fmt.Errorf("agent's folder %s: %w", a.cfg.Dir, err)
	}
	cleanup := func() {}
	socket := filepath.Join(dir, "workload-spiffe-uds", "socket")
	if len(socket) > maxSocketPath {
		short, err := os.MkdirTemp("", "lateen-")
		if err != nil {
			return "", nil, fmt.Errorf("folder for the secrets' socket: %w", err)
		}
		cleanup = func() { os.RemoveAll(short) }
		socket = filepath.Join(short, "socket")
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		cleanup()
		return "", nil, fmt.Errorf("folder for the secrets' socket: %w", err)
	}
	return socket, cleanup, nil
}

// Join obtains one certificate and returns it, for a program that wants to be a workload of the mesh without a proxy. It reads the
// fields of cfg that name the identity, the control plane and the files; it tries once.
func Join(ctx context.Context, cfg Config) (*Identity, error) {
	cfg = cfg.withDefaults()
	if err := asked(cfg.identity()).Validate(); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	s := newSecrets()
	if cfg.signer == nil {
		cfg.signer = newCAClient(cfg, s)
	}
	r := &renewer{cfg: cfg, secrets: s}
	return r.once(ctx, false)
}
