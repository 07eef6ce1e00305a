// Command lateen-proxy is the data plane alone: a proxy that runs on an Envoy bootstrap (-c), or beside a workload or as a gateway with
// its agent (sidecar, router). See package proxy.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/lateen-mesh/lateen/agent/agentcmd"
	"github.com/lateen-mesh/lateen/proxy"
)

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit code: 0, or 1 after an error.
func run(args []string) int {
	// The second signal ends the program at once: stop hands signals back to the runtime.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	cmd := newCommand()
	cmd.AddCommand(agentcmd.New(runWithAgent)...)
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(ctx); err != nil {
		printError(os.Stderr, err)
		return 1
	}
	return 0
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
