// Package proxycmd holds the command that runs the data plane, for the two programs that have it: `lateen-proxy` and `lateen proxy`.
//
// By itself it runs an Envoy bootstrap under Envoy's flags; with sidecar and router below it (agent/agentcmd) an agent joins a mesh
// first and writes the bootstrap. Flags and wiring only. cmd/lateen-proxy and cli import it.
package proxycmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/agent/agentcmd"
	"github.com/lateen-mesh/lateen/pkg/version"
	"github.com/lateen-mesh/lateen/proxy"
)

// New returns the command under a name. Errors are the caller's to print, with PrintError.
func New(name string) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:           name,
		Short:         "Run the data plane: on an Envoy bootstrap, beside a workload, or as a gateway",
		Version:       version.Version(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		// Before anything that an agent or a large configuration needs.
		PersistentPreRun: func(*cobra.Command, []string) { f.footprint = proxy.NewFootprint() },
		RunE:             func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.register(cmd.Flags())
	f.registerOthers(cmd.Flags())
	cmd.AddCommand(agentcmd.New(f.runWithAgent, checkForAgent)...)
	return cmd
}

// meshDrainTime is how long connections of a listener that was replaced may last where the mesh does not say it (drainDuration): as long as in Istio.
const meshDrainTime = 45 * time.Second

// runWithAgent runs the proxy that an agent has configured. In a mesh listeners change with what users apply, and a client that keeps its
// connection is to see the change with its next request, not at some time within Envoy's ten minutes.
func (f *flags) runWithAgent(ctx context.Context, cfg agentcmd.ProxyConfig) error {
	p, err := proxy.New(proxy.Config{
		Bootstrap: cfg.Bootstrap, Concurrency: cfg.Concurrency, LogLevel: cfg.LogLevel, Logger: cfg.Logger, Footprint: f.footprint,
		DrainTime: cmp.Or(cfg.DrainTime, meshDrainTime), DrainImmediately: true, FileFlushInterval: cfg.FileFlushInterval, FileFlushSize: cfg.FileFlushSize,
	})
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	return p.Run(ctx)
}

// checkForAgent judges a bootstrap that an agent has made.
func checkForAgent(cfg agentcmd.ProxyConfig) error {
	return proxy.Validate(proxy.Config{Bootstrap: cfg.Bootstrap, Logger: cfg.Logger})
}

func (f *flags) run(cmd *cobra.Command) error {
	without, err := ineffective(cmd)
	if err != nil {
		return err
	}
	if f.restartVersion {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), proxy.HotRestartVersion)
		return err
	}
	// Envoy's hot restart is on by default, and so refuses a second process with the same base id;
	// here it is on once somebody speaks of it.
	for _, name := range []string{"base-id", "use-dynamic-base-id", "base-id-path", "restart-epoch", "socket-path"} {
		f.hotRestart = f.hotRestart || cmd.Flags().Changed(name)
	}
	if err := f.chooseBaseID(); err != nil {
		return err
	}
	cfg, err := f.config()
	if err != nil {
		return err
	}
	if cfg.Logger, cfg.ReopenLog, err = f.logger(); err != nil {
		return err
	}
	if len(without) > 0 {
		cfg.Logger.Warn("flags without effect here", "flags", strings.Join(without, " "))
	}
	switch f.mode {
	case "validate":
		if err := proxy.Validate(cfg); err != nil {
			return err
		}
		name := f.path
		if name == "" {
			name = "--config-yaml"
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "configuration '%s' OK\n", name)
		return err
	case "serve", "init_only":
	default:
		return fmt.Errorf("--mode %q is not known: use serve, validate or init_only", f.mode)
	}
	p, err := proxy.New(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	if f.mode == "init_only" {
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Go(func() {
			select {
			case <-p.Ready():
				cancel()
			case <-ctx.Done():
			}
		})
	}
	return p.Run(ctx)
}

// PrintError prints an error; one about configuration as a list, a line for each problem.
func PrintError(w io.Writer, err error) {
	var list interface{ Lines() []string }
	if errors.As(err, &list) {
		lines := list.Lines()
		fmt.Fprintf(w, "Error: the configuration has %d problem(s):\n", len(lines))
		for _, l := range lines {
			fmt.Fprintln(w, "  "+l)
		}
		return
	}
	fmt.Fprintln(w, "Error:", err)
}
