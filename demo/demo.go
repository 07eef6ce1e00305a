package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/pkg/lifecycle"
	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/pkg/supervise"
)

const (
	// startTimeout bounds the time until the first request through the gateway succeeds.
	startTimeout = 30 * time.Second
	pollInterval = 25 * time.Millisecond
)

// Config of a demo.
type Config struct {
	// StateDir is made when it is missing.
	StateDir string
	// StateFlag is what the user wrote as --state-dir, "" for nothing; the table repeats it.
	StateFlag string
	// GatewayPort is where the gateway listens for port 80 of the mesh, on 127.0.0.1.
	GatewayPort int
	// GatewayTLSPort and GatewayTCPPort are where it listens for 443 and 31400, once a Gateway asks for them. 0: 8443 and 31400, or the next
	// that are free.
	GatewayTLSPort, GatewayTCPPort int
	// Executable is the program whose commands are run: `lateen` itself.
	Executable string
	// Out gets the table, once the mesh serves.
	Out io.Writer
	// Logger tells of processes that end and come back; not shown to the user.
	Logger *slog.Logger
	// Ready, when set, is called once, after the table.
	Ready func()
}

// Demo is one mesh with the shop.
type Demo struct {
	cfg   Config
	block func() (string, error)
}

// New returns a demo that has started nothing and touched nothing.
func New(cfg Config) (*Demo, error) {
	if cfg.GatewayPort < 1 || cfg.GatewayPort > 65535 {
		return nil, fmt.Errorf("--gateway-port %d: want 1 to 65535", cfg.GatewayPort)
	}
	for _, g := range cfg.gatewayPorts() {
		if g.chosen < 0 || g.chosen > 65535 {
			return nil, fmt.Errorf("--%s %d: want 1 to 65535", g.flag, g.chosen)
		}
		for _, other := range cfg.gatewayPorts() {
			if g.flag != other.flag && g.chosen != 0 && g.chosen == other.chosen {
				return nil, fmt.Errorf("--%s and --%s are both %d: choose two ports", g.flag, other.flag, g.chosen)
			}
		}
	}
	abs, err := filepath.Abs(cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("state folder %s: %w", cfg.StateDir, err)
	}
	cfg.StateDir = abs
	d := &Demo{cfg: cfg}
	d.block = func() (string, error) { return chooseBlock(preferredBlock(abs), blockIsFree) }
	return d, nil
}

// gatewayPorts are those for 80, 443 and 31400 of the mesh.
func (c *Config) gatewayPorts() [3]gatewayPort {
	return [3]gatewayPort{{"gateway-port", c.GatewayPort, c.GatewayPort}, {"gateway-tls-port", c.GatewayTLSPort, 8443}, {"gateway-tcp-port", c.GatewayTCPPort, 31400}}
}

// Run starts the mesh and keeps it running until ctx ends, then ends every process of it.
func (d *Demo) Run(ctx context.Context) error {
	for _, dir := range []string{"", "logs", "proxy", "config"} {
		if err := os.MkdirAll(filepath.Join(d.cfg.StateDir, dir), 0o755); err != nil {
			return fmt.Errorf("state folder: %w; choose another with --state-dir", err)
		}
	}
	held, err := acquire(d.cfg.StateDir)
	if err != nil {
		return err
	}
	defer held.release()
	var ports gatewayPorts
	for i, g := range d.cfg.gatewayPorts() {
		if ports[i], err = g.free(ports[:i]); err != nil {
			return err
		}
	}
	block, err := d.block()
	if err != nil {
		return err
	}
	p := newPlan(d.cfg.StateDir, block, ports, d.cfg.Executable)
	p.stateFlag = d.cfg.StateFlag
	if err := p.seed(); err != nil {
		return err
	}
	if err := p.writeWorkloads(); err != nil {
		return err
	}
	return d.supervise(ctx, p)
}

func (d *Demo) supervise(ctx context.Context, p *plan) error {
	defer func() {
		if err := runfile.Remove(d.cfg.StateDir); err != nil {
			d.cfg.Logger.Error("run.json stays behind", "error", err)
		}
	}()
	s := supervise.New(supervise.Config{
		Logger: d.cfg.Logger,
		// A killed process has to be back within 5 s, so even one that keeps falling is tried that often.
		Policy: supervise.Policy{First: 100 * time.Millisecond, Max: 3 * time.Second, Steady: 5 * time.Second},
		OnChange: func(all []supervise.Status) {
			if err := runfile.Write(d.cfg.StateDir, p.runFile(all)); err != nil {
				d.cfg.Logger.Error("run.json is not up to date", "error", err)
			}
		},
	})
	g := lifecycle.NewGroup(ctx)
	g.Go("processes", s.Run)
	g.Go("demo", func(ctx context.Context) error { return d.start(ctx, p, s) })
	return g.Wait()
}

// start brings the mesh up in order, says so, and then keeps tokens fresh.
func (d *Demo) start(ctx context.Context, p *plan, s *supervise.Supervisor) error {
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p.begun = time.Now()
	s.Add(p.controlPlaneProcess())
	if err := until(starting, unlessHopeless(s, func(ctx context.Context) error { return answers(ctx, "http://"+p.controlPlane(15014)+"/ready", "") })); err != nil {
		return d.failed(ctx, s, "the control plane does not start", err)
	}
	if err := p.writeTokens(time.Now()); err != nil {
		return err
	}
	for _, process := range p.meshProcesses() {
		s.Add(process)
	}
	if err := until(starting, unlessHopeless(s, p.serves)); err != nil {
		return d.failed(ctx, s, "no request gets through the gateway", err)
	}
	cancel()
	if err := writeTable(d.cfg.Out, p); err != nil {
		return err
	}
	if d.cfg.Ready != nil {
		d.cfg.Ready()
	}
	return p.refreshTokens(ctx)
}

// failed explains a start that did not succeed with what the supervisor knows: processes that keep ending, and where their logs are.
func (d *Demo) failed(ctx context.Context, s *supervise.Supervisor, what string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	text := fmt.Sprintf("%s: %v", what, err)
	told := 0
	for _, st := range s.Statuses() {
		if st.LastEnd == "" {
			continue
		}
		if told++; told > 2 {
			text += "\n  and others"
			break
		}
		text += fmt.Sprintf("\n  %s ended (%s): %.500s", st.Name, st.LastEnd, lastLine(st.Log))
	}
	return errors.New(text + "\n  logs are in " + filepath.Join(d.cfg.StateDir, "logs"))
}

// hopelessRestarts is how often a process may end during the start before the start is given up.
const hopelessRestarts = 5

// errHopeless ends until at once.
var errHopeless = errors.New("it keeps ending")

// unlessHopeless fails the check for good when a process keeps ending.
func unlessHopeless(s *supervise.Supervisor, check func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, st := range s.Statuses() {
			if st.Restarts >= hopelessRestarts {
				return fmt.Errorf("%s: %w", st.Name, errHopeless)
			}
		}
		return check(ctx)
	}
}

// lastLine returns what a log says of why its process ended: the last line that begins like an error or a panic, else the last.
func lastLine(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	for _, line := range slices.Backward(lines) {
		if strings.HasPrefix(line, "Error: ") || strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return line
		}
	}
	return lines[len(lines)-1]
}

// serves says whether the whole shop answers: every proxy is ready, and one request goes from the gateway to webapp to catalog.
func (p *plan) serves(ctx context.Context) error {
	for _, w := range p.workloads {
		if err := answers(ctx, "http://"+w.admin()+"/ready", ""); err != nil {
			return fmt.Errorf("the proxy of %s: %w", w.Name, err)
		}
	}
	for _, w := range p.workloads {
		if w.Kind != "" {
			if err := answers(ctx, "http://"+w.app()+"/shop/fault", ""); err != nil {
				return fmt.Errorf("the app %s: %w", w.Name, err)
			}
		}
	}
	err := answers(ctx, "http://"+p.gateway()+"/api/catalog", "localhost")
	var code statusError
	if !p.fresh && errors.As(err, &code) && time.Since(p.begun) > ownConfigPatience {
		return nil
	}
	return err
}

// ownConfigPatience is how long a start waits for a 200 when the configuration is one that the user has changed in a former run: it may
// be meant to answer something else.
const ownConfigPatience = 8 * time.Second

// until repeats check until it succeeds; when ctx ends first, the error is the check's last.
func until(ctx context.Context, check func(context.Context) error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := check(attempt)
		cancel()
		if err == nil || errors.Is(err, errHopeless) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-ticker.C:
		}
	}
}

// answers is nil when the URL answers 200.
func answers(ctx context.Context, url, host string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Host = host // "": the URL's
	// Neither the user's HTTP_PROXY nor a kept connection has a place here.
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return statusError{url, resp.Status}
	}
	return nil
}

// statusError is an answer other than 200.
type statusError struct{ url, status string }

func (e statusError) Error() string { return e.url + " answers " + e.status }
