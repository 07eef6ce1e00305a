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

	"github.com/lateen-mesh/lateen/localmesh"
	"github.com/lateen-mesh/lateen/pkg/log"
	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// meshFlags are the flags of the commands that run a whole mesh: demo and up.
type meshFlags struct {
	gatewayPort, gatewayTLSPort, gatewayTCPPort int
	detach                                      bool
}

func (f *meshFlags) register(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.gatewayPort, "gateway-port", 8080, "port of 127.0.0.1 where the ingress gateway listens for port 80 of the mesh")
	cmd.Flags().IntVar(&f.gatewayTLSPort, "gateway-tls-port", 0, "the same for port 443 (default 8443, or the next that is free)")
	cmd.Flags().IntVar(&f.gatewayTCPPort, "gateway-tcp-port", 0, "the same for port 31400 (default 31400, or the next that is free)")
	cmd.Flags().BoolVar(&f.detach, "detach", false, "return once the mesh serves and leave it running; end it with 'lateen "+cmd.Name()+" stop'")
}

// meshRun is one run of such a command.
type meshRun struct {
	command  string
	args     []string // of the command, to be repeated by --detach
	stateDir string
	content  localmesh.Content
}

func (f *meshFlags) run(cmd *cobra.Command, r meshRun) error {
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if f.detach {
		args := append([]string{r.command, "--gateway-port", strconv.Itoa(f.gatewayPort)}, r.args...)
		for flag, port := range map[string]int{"--gateway-tls-port": f.gatewayTLSPort, "--gateway-tcp-port": f.gatewayTCPPort} {
			if port != 0 {
				args = append(args, flag, strconv.Itoa(port))
			}
		}
		if given := givenStateDir(cmd); given != "" {
			args = append(args, "--state-dir", given)
		}
		return localmesh.Detach(cmd.Context(), executable, args, r.stateDir, cmd.OutOrStdout())
	}
	logger, closeLog, err := meshLogger(r.stateDir, r.command)
	if err != nil {
		return err
	}
	defer closeLog()
	ready, err := localmesh.ReadyPipe()
	if err != nil {
		return err
	}
	cfg := localmesh.Config{
		Command: r.command, Content: r.content, StateDir: r.stateDir, StateFlag: givenStateDir(cmd), Executable: executable,
		GatewayPort: f.gatewayPort, GatewayTLSPort: f.gatewayTLSPort, GatewayTCPPort: f.gatewayTCPPort, Out: cmd.OutOrStdout(), Logger: logger,
	}
	if ready != nil {
		defer ready.Close()
		cfg.Out = ready
		cfg.Ready = func() { ready.Close() }
	}
	m, err := localmesh.New(cfg)
	if err != nil {
		return err
	}
	return m.Run(cmd.Context())
}

// givenStateDir is the folder to repeat in suggested commands: "" when they would find the same one without the flag.
func givenStateDir(cmd *cobra.Command) string {
	return cmd.Flag(stateDirFlag).Value.String()
}

// meshLogger writes to logs/COMMAND.log: the terminal stays quiet once the mesh runs.
func meshLogger(dir, command string) (*slog.Logger, func(), error) {
	logs := filepath.Join(dir, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, nil, fmt.Errorf("state folder: %w; choose another with --state-dir", err)
	}
	f, err := os.OpenFile(filepath.Join(logs, command+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("log of the mesh: %w", err)
	}
	logger, err := log.New(f, new(log.Levels), "text")
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return log.Scope(logger, command), func() { f.Close() }, nil
}

// newMeshStopCommand ends the mesh of the folder that find names.
func newMeshStopCommand(find func(cmd *cobra.Command, args []string) string) *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "End the mesh that runs in the background",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := localmesh.Stop(cmd.Context(), find(cmd, args))
			if errors.Is(err, localmesh.ErrNotRunning) {
				// Ending what does not run is what was asked for.
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%v\n", err)
			}
			return err
		},
	}
}

// newMeshStatusCommand shows the processes of the mesh of the folder that find names.
func newMeshStatusCommand(find func(cmd *cobra.Command, args []string) string) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the processes of the running mesh",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			run, all, err := localmesh.Status(cmd.Context(), find(cmd, args))
			if err != nil {
				return err
			}
			return printMeshStatus(cmd.OutOrStdout(), run, all)
		},
	}
}

func printMeshStatus(out io.Writer, run *runfile.Run, all []localmesh.ProcessStatus) error {
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
