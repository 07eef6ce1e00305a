package localmesh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/pkg/lifecycle"
	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/pkg/supervise"
	"github.com/lateen-mesh/lateen/workload"
)

const (
	// startTimeout bounds the time until the first request through the gateway succeeds.
	startTimeout = 30 * time.Second
	pollInterval = 25 * time.Millisecond
)

// Run starts the mesh and keeps it running until ctx ends, then ends every process of it.
func (m *Mesh) Run(ctx context.Context) error {
	for _, dir := range []string{"", "logs", "proxy", "config"} {
		if err := os.MkdirAll(filepath.Join(m.cfg.StateDir, dir), 0o755); err != nil {
			return fmt.Errorf("state folder: %w; choose another with --state-dir", err)
		}
	}
	held, err := acquire(m.cfg.StateDir, m.cfg.Command)
	if err != nil {
		return err
	}
	defer held.release()
	var ports Ports
	for i, g := range m.cfg.gatewayPorts() {
		if ports[i], err = g.free(ports[:i]); err != nil {
			return err
		}
	}
	block, err := m.block()
	if err != nil {
		return err
	}
	p := newPlace(m.cfg.StateDir, block, ports, m.cfg.Executable)
	p.StateFlag, p.Begun = m.cfg.StateFlag, time.Now()
	wanted, err := m.cfg.Content.Prepare(p)
	if err != nil {
		return err
	}
	return m.supervise(ctx, &Members{Place: p, drain: drain}, wanted)
}

func (m *Mesh) supervise(ctx context.Context, members *Members, wanted []workload.Workload) error {
	defer func() {
		if err := runfile.Remove(m.cfg.StateDir); err != nil {
			m.cfg.Logger.Error("run.json stays behind", "error", err)
		}
	}()
	s := supervise.New(supervise.Config{
		Logger: m.cfg.Logger,
		// A killed process has to be back within 5 s, so even one that keeps falling is tried that often.
		Policy: supervise.Policy{First: 100 * time.Millisecond, Max: 3 * time.Second, Steady: 5 * time.Second},
		OnChange: func([]supervise.Status) {
			if err := runfile.Write(m.cfg.StateDir, members.runFile()); err != nil {
				m.cfg.Logger.Error("run.json is not up to date", "error", err)
			}
		},
	})
	members.processes = s
	if err := members.sweepEntries(append([]workload.Workload{members.Place.gatewayWorkload()}, wanted...)); err != nil {
		return err
	}
	g := lifecycle.NewGroup(ctx)
	g.Go("processes", s.Run)
	g.Go("mesh", func(ctx context.Context) error { return m.start(ctx, members, wanted) })
	return g.Wait()
}

// start brings the mesh up in order, says so, and then keeps it.
func (m *Mesh) start(ctx context.Context, members *Members, wanted []workload.Workload) error {
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p, s := members.Place, members.processes
	s.Add(controlPlane(p))
	if err := Until(starting, unlessHopeless(s, func(ctx context.Context) error { return answers(ctx, "http://"+p.ControlPlane(15014)+"/ready", "") })); err != nil {
		return m.failed(ctx, s, "the control plane does not start", err)
	}
	if err := members.Set(wanted); err != nil {
		return err
	}
	if err := Until(starting, unlessHopeless(s, func(ctx context.Context) error {
		if err := members.ready(ctx); err != nil {
			return err
		}
		return m.cfg.Content.Serves(ctx, p)
	})); err != nil {
		return m.failed(ctx, s, "the mesh does not serve", err)
	}
	cancel()
	if err := m.cfg.Content.Table(m.cfg.Out, p); err != nil {
		return err
	}
	if m.cfg.Ready != nil {
		m.cfg.Ready()
	}
	g := lifecycle.NewGroup(ctx)
	g.Go("content", func(ctx context.Context) error { return m.cfg.Content.Keep(ctx, members) })
	g.Go("join tokens", members.keepTokens)
	g.Go("members", members.keepEntries)
	return g.Wait()
}

// controlPlane is started first, alone.
func controlPlane(p Place) supervise.Process {
	return p.Process("control-plane", nil, "control-plane", "--state-dir", p.StateDir, "--address", p.Block+".0.1", "--instance", "istiod-1",
		"--gateway-service", RootNamespace+"/istio-ingressgateway")
}

// failed explains a start that did not succeed with what the supervisor knows: processes that keep ending, and where their logs are.
func (m *Mesh) failed(ctx context.Context, s *supervise.Supervisor, what string, err error) error {
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
	return errors.New(text + "\n  logs are in " + filepath.Join(m.cfg.StateDir, "logs"))
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

// ready says whether every proxy is.
func (m *Members) ready(ctx context.Context) error {
	for _, w := range m.List() {
		if w.Type == workload.Outside {
			continue
		}
		if err := answers(ctx, "http://"+w.Admin()+"/ready", ""); err != nil {
			return fmt.Errorf("the proxy of %s: %w", w.Name, err)
		}
	}
	return nil
}
