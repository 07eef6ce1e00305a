// Package proxycmd holds the command that runs the data plane, for the two programs that have it: `lateen-proxy` and `lateen proxy`.
//
// By itself it runs an Envoy bootstrap under Envoy's flags; with sidecar and router below it (agent/agentcmd) an agent joins a mesh
// first and writes the bootstrap. Flags and wiring only. cmd/lateen-proxy and cli import it.
package proxycmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/agent/agentcmd"
	"github.com/lateen-mesh/lateen/pkg/version"
	"github.com/lateen-mesh/lateen/proxy"
)

// flags are Envoy's flags as far as this proxy has what they steer. Any other flag is refused.
type flags struct {
	path, yaml, mode, node, cluster, level, components string
	concurrency, drain                                 int
}

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
		RunE:          func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	s := cmd.Flags()
	s.StringVarP(&f.path, "config-path", "c", "", "bootstrap file, YAML or JSON")
	s.StringVar(&f.yaml, "config-yaml", "", "bootstrap as text; merged over --config-path")
	s.StringVar(&f.mode, "mode", "serve", "serve, or validate: judge the configuration and exit")
	s.StringVar(&f.node, "service-node", "", "node id, replaces node.id of the bootstrap")
	s.StringVar(&f.cluster, "service-cluster", "", "node cluster, replaces node.cluster of the bootstrap")
	s.StringVarP(&f.level, "log-level", "l", "info", "trace, debug, info, warning, error, critical or off")
	s.StringVar(&f.components, "component-log-level", "", "levels of single components: upstream:debug,http:trace")
	s.IntVar(&f.concurrency, "concurrency", 0, "number of workers (default: one for each core)")
	s.IntVar(&f.drain, "drain-time-s", 600, "seconds that connections of a replaced listener may take to end")
	cmd.AddCommand(agentcmd.New(runWithAgent)...)
	return cmd
}

// runWithAgent runs the proxy that an agent has configured.
func runWithAgent(ctx context.Context, cfg agentcmd.ProxyConfig) error {
	p, err := proxy.New(proxy.Config{
		Bootstrap: cfg.Bootstrap, Concurrency: cfg.Concurrency, LogLevel: cfg.LogLevel, Logger: cfg.Logger, TuneProcess: true,
	})
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	return p.Run(ctx)
}

func (f *flags) config() (proxy.Config, error) {
	cfg := proxy.Config{
		Overlay: []byte(f.yaml), Concurrency: f.concurrency, LogLevel: f.level, ComponentLogLevels: f.components,
		ServiceNode: f.node, ServiceCluster: f.cluster, DrainTime: time.Duration(f.drain) * time.Second,
		ConfigPath: f.path, TuneProcess: true,
	}
	if f.concurrency < 0 {
		return cfg, fmt.Errorf("--concurrency %d: the number of workers cannot be negative", f.concurrency)
	}
	if f.drain <= 0 {
		return cfg, fmt.Errorf("--drain-time-s %d: must be at least 1", f.drain)
	}
	if f.path != "" {
		raw, err := os.ReadFile(f.path)
		if err != nil {
			return cfg, fmt.Errorf("-c: %w", err)
		}
		cfg.Bootstrap = raw
	}
	return cfg, nil
}

func (f *flags) run(cmd *cobra.Command) error {
	cfg, err := f.config()
	if err != nil {
		return err
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
	case "serve":
	default:
		return fmt.Errorf("--mode %q is not known: use serve or validate", f.mode)
	}
	p, err := proxy.New(cfg)
	if err != nil {
		return err
	}
	return p.Run(cmd.Context())
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
