package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/lateen-mesh/lateen/agent/status"
	"github.com/lateen-mesh/lateen/localmesh"
	"github.com/lateen-mesh/lateen/pkg/lifecycle"
	"github.com/lateen-mesh/lateen/pkg/supervise"
	"github.com/lateen-mesh/lateen/workload"
)

// Config of a run.
type Config struct {
	// Name is the instance's, Deployment what instances of the workload share.
	Name, Deployment, Namespace, ServiceAccount string
	Labels                                      map[string]string
	// Ports, as workload.ParsePort reads them.
	Ports []string
	// Metrics are the command's, which the proxy's agent merges with the proxy's; nil: it has none.
	Metrics *status.Application
	// Command is the program and its arguments.
	Command []string

	// StateDir is the folder of the mesh on this machine, or where the proxy keeps its files when Discovery is set.
	StateDir string
	// Discovery is a control plane elsewhere, HOST:PORT of its TLS port. "" is the mesh that runs from StateDir.
	Discovery string
	// TokenFile holds the join token, RootCert the mesh's root, and IP the workload's address, for a control plane elsewhere.
	TokenFile, RootCert, IP string
	// Group is the WorkloadGroup by which the control plane registers the workload.
	Group string

	// ExecProbes allows the Group's probe to be a command, which runs as this program's user.
	ExecProbes bool
	// CaptureUser is the user that the command runs as and whose connections are redirected to the proxy; "" for no redirection.
	CaptureUser string
	// What is redirected, in the form and with the meaning of Istio's annotations: IncludeRanges ("*" for all) and ExcludeRanges, IncludePorts and ExcludePorts of
	// what the command calls; IncludeInbound ("" for the workload's ports) and ExcludeInbound of what others call.
	IncludeRanges, ExcludeRanges, IncludePorts, ExcludePorts, IncludeInbound, ExcludeInbound string

	// CaptureDNS says whether the command's DNS queries are redirected to the agent: "true", "false", or "" for as the environment (ISTIO_META_DNS_CAPTURE) or the mesh says,
	// else that they are.
	CaptureDNS string

	// Drain is how long the workload goes on serving after it was taken out of the mesh, before the command is asked to end.
	Drain time.Duration
	// Executable is this program.
	Executable string
	// Logger tells of a proxy that ends and comes back.
	Logger *slog.Logger
}

const (
	// readyTimeout is how long the proxy may take until it serves.
	readyTimeout = 30 * time.Second
	// grace is how long the command may take to end.
	grace = 10 * time.Second
	// adminTimeout bounds a request to the proxy's admin API.
	adminTimeout = 2 * time.Second
)

// Run joins the mesh and runs the command until it ends or ctx does. The error is an ExitError when the command ended badly.
func Run(ctx context.Context, cfg Config) error {
	m, err := cfg.join()
	if err != nil {
		return err
	}
	err = cfg.run(ctx, m)
	if forgetErr := m.forget(); err == nil {
		err = forgetErr
	}
	return err
}

func (cfg Config) run(ctx context.Context, m *membership) error {
	for _, dir := range []string{"logs", "proxy"} {
		if err := os.MkdirAll(m.site.Dir+"/"+dir, 0o755); err != nil {
			return err
		}
	}
	s := supervise.New(supervise.Config{Logger: cfg.Logger, Policy: supervise.Policy{First: 100 * time.Millisecond, Max: 3 * time.Second, Steady: 5 * time.Second}})
	captured, err := cfg.interception(m.workload)
	if err != nil {
		return err
	}
	env := captured.environment(cfg)
	if cfg.Group != "" {
		env = append(env, "ISTIO_META_AUTO_REGISTER_GROUP="+cfg.Group)
	}
	proxy := m.site.Proxy(m.workload, append(m.flags, captured.flags()...)...)
	proxy.Env = append(proxy.Env, env...)
	s.Add(proxy)

	// The proxy outlives ctx: what the command has begun when it is asked to end goes through it.
	g := lifecycle.NewGroup(context.WithoutCancel(ctx))
	g.Go("proxy", s.Run)
	if m.refresh != nil {
		g.Go("join token", func(ctx context.Context) error { return keepToken(ctx, m.refresh) })
	}
	err = cfg.withProxy(ctx, m, captured, proxy.Log)
	g.Stop()
	if waitErr := g.Wait(); err == nil {
		err = waitErr
	}
	return err
}

// withProxy runs the command once the proxy serves.
func (cfg Config) withProxy(ctx context.Context, m *membership, captured *interception, proxyLog string) (err error) {
	starting, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := localmesh.Until(starting, func(ctx context.Context) error {
		return localmesh.Answers(ctx, "http://"+m.workload.Admin()+"/ready", "")
	}); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("the proxy does not serve: %w; its log is %s", err, proxyLog)
	}
	remove, err := captured.install(ctx, m.workload)
	if err != nil {
		return err
	}
	// Before the proxy ends, so that nothing is sent to one that is gone.
	defer func() { err = errors.Join(err, remove()) }()
	// Linux ends the command when the thread that started it ends, so this one stays.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	env := workload.CleanEnvironment(os.Environ())
	if captured != nil {
		env = append(env, m.workload.CapturedEnvironment()...)
	} else {
		env = append(env, m.workload.AppEnvironment()...)
	}
	c, err := startCommand(cfg.Command, env, "", captured.credential())
	if err != nil {
		return err
	}
	select {
	case <-c.done:
		return errors.Join(m.leave(), c.result())
	case <-ctx.Done():
	}
	leaveErr := m.leave()
	drain(m.workload, cfg.Drain, c.done)
	c.end(grace)
	return errors.Join(leaveErr, c.result())
}

// drain has the proxy tell its clients that it goes, and lets both serve for a while. It ends early with the command.
func drain(w workload.Workload, d time.Duration, done <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	_ = post(w, "/drain_listeners?graceful&inboundonly") // a proxy that is gone serves nobody
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// post tells the workload's proxy something by its admin API.
func post(w workload.Workload, path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.Admin()+path, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return fmt.Errorf("tell the proxy: %w", err)
	}
	return resp.Body.Close()
}

func keepToken(ctx context.Context, refresh func(time.Time) error) error {
	ticker := time.NewTicker(workload.TokenLife / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if err := refresh(now); err != nil {
				return err
			}
		}
	}
}
