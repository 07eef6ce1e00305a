package agentcmd

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/agent"
	"github.com/lateen-mesh/lateen/pkg/log"
)

// ProxyConfig is what a proxy is run with.
type ProxyConfig struct {
	agent.ProxyRun
	// LogLevel is one of Envoy's names of levels.
	LogLevel string
	// Logger is the agent's.
	Logger *slog.Logger
}

// RunProxy runs a proxy until ctx ends.
type RunProxy func(ctx context.Context, cfg ProxyConfig) error

// CheckProxy says why a proxy could not start, nil when it could.
type CheckProxy func(cfg ProxyConfig) error

// New returns the commands `sidecar` and `router`.
func New(run RunProxy, check CheckProxy) []*cobra.Command {
	return []*cobra.Command{
		command(agent.Sidecar, "Run the proxy beside one workload", run, check),
		command(agent.Router, "Run the proxy as a gateway", run, check),
	}
}

func command(nodeType, short string, run RunProxy, check CheckProxy) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: nodeType, Short: short, Args: cobra.NoArgs, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !validLevel(o.proxyLogLevel) {
				return fmt.Errorf("--proxyLogLevel %q: want one of %s", o.proxyLogLevel, strings.Join(envoyLevels, ", "))
			}
			var levels log.Levels
			if err := levels.Set(o.logOutputLevel); err != nil {
				return fmt.Errorf("--log_output_level: %w", err)
			}
			logger, err := log.New(cmd.ErrOrStderr(), &levels, "text")
			if err != nil {
				return err
			}
			cfg, err := o.config(nodeType, os.Environ())
			if err != nil {
				return err
			}
			cfg.Logger = log.Scope(logger, "agent")
			cfg.RunProxy = func(ctx context.Context, p agent.ProxyRun) error {
				return run(ctx, ProxyConfig{ProxyRun: p, LogLevel: o.proxyLogLevel, Logger: logger})
			}
			cfg.CheckBootstrap = func(bootstrap []byte) error {
				return check(ProxyConfig{ProxyRun: agent.ProxyRun{Bootstrap: bootstrap}, Logger: logger})
			}
			a, err := agent.New(cfg)
			if err != nil {
				return err
			}
			return a.Run(cmd.Context())
		},
	}
	o.bindFlags(cmd.Flags())
	return cmd
}

// envoyLevels are the names that Envoy's --log-level takes.
var envoyLevels = []string{"trace", "debug", "info", "warning", "warn", "error", "critical", "off"}

func validLevel(level string) bool {
	for _, l := range envoyLevels {
		if l == level {
			return true
		}
	}
	return false
}
