// Command lateen is the whole mesh in one program: command line, control plane, embedded mesh, proxy. See package cli.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/lateen-mesh/lateen/cli"
)

func main() { os.Exit(run()) }

// run returns the exit code: 0, or 1 after an error, or what the error says of itself, or 130 when interrupted.
func run() int {
	// The second signal ends the program at once: NotifyContext hands signals back to the runtime when stop is called.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	err := cli.NewRoot().ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return 130 // interrupted, and nothing else is wrong: what a shell expects after Ctrl-C
	}
	var coded interface{ ExitCode() int }
	code := 1
	if errors.As(err, &coded) {
		code = coded.ExitCode()
	}
	// A configuration may be wrong in many places: a line for each.
	var list interface{ Lines() []string }
	if errors.As(err, &list) {
		fmt.Fprintf(os.Stderr, "Error: the configuration has %d problem(s):\n  %s\n", len(list.Lines()), strings.Join(list.Lines(), "\n  "))
	} else if text := err.Error(); text != "" {
		fmt.Fprintln(os.Stderr, "Error: "+text)
	}
	return code
}
