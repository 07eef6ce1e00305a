// Command lateen-proxy is the data plane alone: a proxy that runs on an Envoy bootstrap (-c), or beside a workload or as a gateway with
// its agent (sidecar, router). See package proxy.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/lateen-mesh/lateen/proxy/proxycmd"
)

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit code: 0, or 1 after an error.
func run(args []string) int {
	// The second signal ends the program at once: stop hands signals back to the runtime.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	cmd := proxycmd.New("lateen-proxy")
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(ctx); err != nil {
		proxycmd.PrintError(os.Stderr, err)
		return 1
	}
	return 0
}
