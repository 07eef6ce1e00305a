// Command lateen is the whole mesh in one program: command line, control plane, embedded mesh, proxy. See package cli.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/lateen-mesh/lateen/cli"
)

func main() { os.Exit(run()) }

// run returns the exit code: 0, or 1 after an error, or what the error says of itself.
func run() int {
	// The second signal ends the program at once: NotifyContext hands signals back to the runtime when stop is called.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	err := cli.NewRoot().ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var coded interface{ ExitCode() int }
	code := 1
	if errors.As(err, &coded) {
		code = coded.ExitCode()
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(os.Stderr, "Error: "+text)
	}
	return code
}
