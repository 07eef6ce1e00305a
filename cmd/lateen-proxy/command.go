package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/pkg/version"
	"github.com/lateen-mesh/lateen/proxy"
)

// flags are Envoy's flags as far as this proxy has what they steer. Any other flag is refused.
type flags struct {
	path, yaml, mode, node, cluster, level, components string
	concurrency, drain                                 int
}

func newCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:           "lateen-proxy",
		Short:         "A proxy that runs on Envoy's configuration",
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
	return cmd
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

// printError prints an error; one about configuration as a list, a line for each problem.
func printError(w io.Writer, err error) {
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
