package localmesh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/config/statedir"
	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/pkg/supervise"
	"github.com/lateen-mesh/lateen/workload"
)

// Members are the workloads of a running mesh. Set changes them; one goroutine at a time.
type Members struct {
	// Place is where the mesh runs.
	Place Place

	processes *supervise.Supervisor
	drain     func(workload.Workload) // gives clients time to learn that a workload goes

	mu   sync.Mutex
	list []workload.Workload // the gateway first
}

// List are the workloads that run now, the gateway first.
func (m *Members) List() []workload.Workload {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.list)
}

// Set makes these the workloads of the mesh, beside the gateway: what is not among them ends, what is new starts, what differs starts anew, and all else goes on.
func (m *Members) Set(wanted []workload.Workload) error {
	wanted = append([]workload.Workload{m.Place.gatewayWorkload()}, wanted...)
	old := m.List()
	find := func(list []workload.Workload, name string) *workload.Workload {
		if i := slices.IndexFunc(list, func(w workload.Workload) bool { return w.Name == name }); i >= 0 {
			return &list[i]
		}
		return nil
	}
	var leaving []workload.Workload
	for _, w := range old {
		if next := find(wanted, w.Name); next == nil || !reflect.DeepEqual(*next, w) {
			leaving = append(leaving, w)
		}
	}
	var errs []error
	for _, w := range leaving {
		errs = append(errs, m.withdraw(w))
	}
	for _, w := range leaving {
		m.end(w)
	}
	m.mu.Lock()
	m.list = wanted
	m.mu.Unlock()
	for _, w := range wanted {
		if last := find(old, w.Name); last == nil || !reflect.DeepEqual(*last, w) {
			errs = append(errs, m.start(w))
		}
	}
	return errors.Join(errs...)
}

// withdraw takes a workload out of the registry: nobody is sent to it any more.
func (m *Members) withdraw(w workload.Workload) error {
	err := os.Remove(m.entryFile(w))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (m *Members) end(w workload.Workload) {
	if w.Type != workload.Outside {
		m.drain(w)
	}
	m.processes.Remove(w.Name) // the application, or the gateway
	if w.ProxyProcess() != w.Name {
		m.processes.Remove(w.ProxyProcess())
	}
}

func (m *Members) start(w workload.Workload) error {
	if w.Type != workload.Outside {
		if err := m.writeEntry(w); err != nil {
			return err
		}
		key, err := jointoken.ReadKey(m.Place.Path("ca"))
		if err != nil {
			return err
		}
		if err := m.Place.WriteToken(key, w, time.Now()); err != nil {
			return err
		}
		var flags []string
		if w.Type == workload.Sidecar {
			flags = w.ExplicitFlags()
		}
		m.processes.Add(m.Place.Proxy(w, flags...))
	}
	if len(w.Command) > 0 {
		app := m.Place.AppProcess(w, workload.CleanEnvironment(os.Environ()))
		if w.Type != workload.Outside {
			// As with Istio's holdApplicationUntilProxyStarts: what it calls first goes through.
			app.Await = func(ctx context.Context) { _ = Until(ctx, serves(w)) } // or it is not wanted any more
		}
		m.processes.Add(app)
	}
	return nil
}

// refreshTokens writes the token of every workload anew.
func (m *Members) refreshTokens(now time.Time) error {
	key, err := jointoken.ReadKey(m.Place.Path("ca"))
	if err != nil {
		return err
	}
	for _, w := range m.List() {
		if w.Type == workload.Outside {
			continue
		}
		if err := m.Place.WriteToken(key, w, now); err != nil {
			return err
		}
	}
	return nil
}

func (m *Members) entryFile(w workload.Workload) string {
	return filepath.Join(statedir.WorkloadsDir(m.Place.StateDir), w.Name+".yaml")
}

func (m *Members) writeEntry(w workload.Workload) error {
	text, err := w.Entry()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(statedir.WorkloadsDir(m.Place.StateDir), 0o755); err != nil {
		return fmt.Errorf("workloads: %w", err)
	}
	if err := runfile.WriteFile(m.entryFile(w), text, 0o644); err != nil {
		return fmt.Errorf("workload %s: %w", w.Name, err)
	}
	return nil
}

// sweepEntries tells the registry what is to run from now on, before anything does, and takes away what a former run has left.
func (m *Members) sweepEntries(wanted []workload.Workload) error {
	for _, w := range wanted {
		if w.Type == workload.Outside {
			continue
		}
		if err := m.writeEntry(w); err != nil {
			return err
		}
	}
	return m.removeStale(wanted)
}

// removeStale removes the entries of whatever is neither among the workloads nor a living member.
func (m *Members) removeStale(current []workload.Workload) error {
	dir := statedir.WorkloadsDir(m.Place.StateDir)
	old, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("workloads: %w", err)
	}
	for _, entry := range old {
		name, isYAML := strings.CutSuffix(entry.Name(), ".yaml")
		known := slices.ContainsFunc(current, func(w workload.Workload) bool { return w.Name == name })
		if !isYAML || known || strings.HasPrefix(name, ".") || runfile.IsMember(m.Place.StateDir, name) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("workloads: %w", err)
		}
	}
	return nil
}

// runFile is run.json, with the processes as they are now.
func (m *Members) runFile() *runfile.Run {
	p := m.Place
	run := &runfile.Run{
		PID: os.Getpid(), Block: p.Block, Gateway: p.Gateway(), GatewayTLS: gatewayAddress(p.TLS()), GatewayTCP: gatewayAddress(p.TCP()),
		XDS: p.ControlPlane(15010), XDSTLS: p.ControlPlane(15012), Debug: p.ControlPlane(15014),
	}
	for _, w := range m.List() {
		if w.Type != workload.Outside {
			run.Proxies = append(run.Proxies, runfile.Proxy{Name: w.Name, Namespace: w.Namespace, Workload: w.Deployment, Type: w.Type, Admin: w.Admin()})
		}
		if len(w.Command) > 0 {
			run.Apps = append(run.Apps, runfile.App{Name: w.Name, App: w.App, Version: w.Labels["version"], Address: w.AppAddress()})
		}
	}
	for _, s := range m.processes.Statuses() {
		run.Processes = append(run.Processes, runfile.Process{Name: s.Name, PID: s.PID, Log: s.Log})
	}
	return run
}

// serves is nil when the workload's proxy takes requests.
func serves(w workload.Workload) func(context.Context) error {
	return func(ctx context.Context) error { return Answers(ctx, "http://"+w.Admin()+"/ready", "") }
}
