package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/agent/agentcmd"
	"github.com/lateen-mesh/lateen/pkg/log"
	"github.com/lateen-mesh/lateen/proxy"
)

// newProxyCommand returns `lateen proxy`: with sidecar and router below it the proxy has an agent in its process, by itself it runs an
// Envoy bootstrap.
func newProxyCommand() *cobra.Command {
	var f proxyFlags
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Run the data plane: beside a workload, as a gateway, or on an Envoy bootstrap",
		Example: `  lateen proxy -c envoy.yaml
  lateen proxy -c envoy.yaml --mode validate`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.bind(cmd)
	cmd.AddCommand(agentcmd.New(runAgentProxy)...)
	return cmd
}

// runAgentProxy is the proxy of an agent.
func runAgentProxy(ctx context.Context, cfg agentcmd.ProxyConfig) error {
	p, err := proxy.New(proxy.Config{
		Bootstrap: cfg.Bootstrap, Concurrency: cfg.Concurrency, LogLevel: cfg.LogLevel, Logger: cfg.Logger, TuneProcess: true,
	})
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// proxyFlags are Envoy's, those of its flags that lateen-proxy has too.
type proxyFlags struct {
	path, yaml, mode            string
	concurrency                 int
	logLevel, node, nodeCluster string
}

func (f *proxyFlags) bind(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&f.path, "config-path", "c", "", "file with the bootstrap, YAML or JSON")
	fs.StringVar(&f.yaml, "config-yaml", "", "bootstrap as text, merged over the file's")
	fs.StringVar(&f.mode, "mode", "serve", "serve, or validate to check the bootstrap and end")
	fs.IntVar(&f.concurrency, "concurrency", 0, "worker threads; 0: one for each CPU")
	fs.StringVarP(&f.logLevel, "log-level", "l", "info", "trace, debug, info, warning, error, critical or off")
	fs.StringVar(&f.node, "service-node", "", "node id, in place of the bootstrap's")
	fs.StringVar(&f.nodeCluster, "service-cluster", "", "cluster of the node, in place of the bootstrap's")
}

func (f *proxyFlags) run(cmd *cobra.Command) error {
	logger, err := log.New(cmd.ErrOrStderr(), new(log.Levels), "text")
	if err != nil {
		return err
	}
	cfg := proxy.Config{
		Overlay: []byte(f.yaml), Concurrency: f.concurrency, Logger: logger, LogLevel: f.logLevel,
		ServiceNode: f.node, ServiceCluster: f.nodeCluster, ConfigPath: f.path, TuneProcess: true,
	}
	if f.path != "" {
		if cfg.Bootstrap, err = os.ReadFile(f.path); err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
	}
	switch f.mode {
	case "serve":
	case "validate":
		if err := proxy.Validate(cfg); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "configuration '%s' OK\n", f.path)
		return err
	default:
		return fmt.Errorf("--mode %q: want serve or validate", f.mode)
	}
	p, err := proxy.New(cfg)
	if err != nil {
		return err
	}
	return p.Run(cmd.Context())
}
