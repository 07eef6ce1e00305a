package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/demo"
	"github.com/lateen-mesh/lateen/pkg/log"
	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// newDemoCommand returns `lateen demo`, with stop and status below it.
func newDemoCommand() *cobra.Command {
	var cfg demo.Config
	var detach bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole mesh with a sample shop on this machine",
		Long: `Starts the control plane, an ingress gateway, and a shop of small services, each beside its own proxy, and a service outside
the mesh. Prints what runs where and what to try, then stays in the foreground; Ctrl-C ends everything. Needs no root.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			executable, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			if detach {
				args := []string{"demo", "--gateway-port", strconv.Itoa(cfg.GatewayPort)}
				for flag, port := range map[string]int{"--gateway-tls-port": cfg.GatewayTLSPort, "--gateway-tcp-port": cfg.GatewayTCPPort} {
					if port != 0 {
						args = append(args, flag, strconv.Itoa(port))
					}
				}
				if given := givenStateDir(cmd); given != "" {
					args = append(args, "--state-dir", given)
				}
				return demo.Detach(cmd.Context(), executable, args, stateDir(cmd), cmd.OutOrStdout())
			}
			cfg.Executable = executable
			return runDemo(cmd, cfg)
		},
	}
	cmd.Flags().IntVar(&cfg.GatewayPort, "gateway-port", 8080, "port of 127.0.0.1 where the ingress gateway listens for port 80 of the mesh")
	cmd.Flags().IntVar(&cfg.GatewayTLSPort, "gateway-tls-port", 0, "the same for port 443 (default 8443, or the next that is free)")
	cmd.Flags().IntVar(&cfg.GatewayTCPPort, "gateway-tcp-port", 0, "the same for port 31400 (default 31400, or the next that is free)")
	cmd.Flags().BoolVar(&detach, "detach", false, "return once the mesh serves and leave it running; end it with 'lateen demo stop'")
	cmd.AddCommand(newDemoStopCommand(), newDemoStatusCommand())
	return cmd
}

func runDemo(cmd *cobra.Command, cfg demo.Config) error {
	dir := stateDir(cmd)
	logger, closeLog, err := demoLogger(dir)
	if err != nil {
		return err
	}
	defer closeLog()
	ready, err := demo.ReadyPipe()
	if err != nil {
		return err
	}
	cfg.StateDir, cfg.StateFlag, cfg.Out, cfg.Logger = dir, givenStateDir(cmd), cmd.OutOrStdout(), logger
	if ready != nil {
		defer ready.Close()
		cfg.Out = ready
		cfg.Ready = func() { ready.Close() }
	}
	d, err := demo.New(cfg)
	if err != nil {
		return err
	}
	return d.Run(cmd.Context())
}

// givenStateDir is the folder to repeat in suggested commands: "" when they would find the same one without the flag.
func givenStateDir(cmd *cobra.Command) string {
	return cmd.Flag(stateDirFlag).Value.String()
}

// demoLogger writes to logs/demo.log: the terminal stays quiet once the mesh runs.
func demoLogger(dir string) (*slog.Logger, func(), error) {
	logs := filepath.Join(dir, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, nil, fmt.Errorf("state folder: %w; choose another with --state-dir", err)
	}
	f, err := os.OpenFile(filepath.Join(logs, "demo.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("log of the demo: %w", err)
	}
	logger, err := log.New(f, new(log.Levels), "text")
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return log.Scope(logger, "demo"), func() { f.Close() }, nil
}

func newDemoStopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "End the demo that runs in the background",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := demo.Stop(cmd.Context(), stateDir(cmd))
			if errors.Is(err, demo.ErrNotRunning) {
				// Ending what does not run is what was asked for.
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%v\n", err)
			}
			return err
		},
	}
}

func newDemoStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the processes of the running demo",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			run, all, err := demo.Status(cmd.Context(), stateDir(cmd))
			if err != nil {
				return err
			}
			return printDemoStatus(cmd.OutOrStdout(), run, all)
		},
	}
}

func printDemoStatus(out io.Writer, run *runfile.Run, all []demo.ProcessStatus) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "PROCESS\tPID\tSTATE\tLOG")
	for _, p := range all {
		pid := "-"
		if p.PID != 0 {
			pid = strconv.Itoa(p.PID)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.Name, pid, p.State, p.Log)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\ngateway: http://%s, port 443 at %s, port 31400 at %s   addresses: %s.0.0/16\n", run.Gateway, run.GatewayTLS, run.GatewayTCP, run.Block)
	return err
}
