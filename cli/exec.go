package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/runner"
)

// newExecCommand is `lateen exec`, with kubectl's arguments.
func newExecCommand() *cobra.Command {
	var namespace, container string
	var stdin, tty bool
	cmd := &cobra.Command{
		Use:   "exec (POD | deploy/NAME)[.NAMESPACE] [-c CONTAINER] -- COMMAND [ARG...]",
		Short: "Run a command as an application of the mesh on this machine would run it",
		Long: `Runs a program of this machine in the folder and with the environment of a workload's application. So its requests go out through
the workload's proxy (HTTP_PROXY) and carry the workload's identity. The exit code is the command's.`,
		Example: "  lateen exec deploy/ratings-v1 -c ratings -- curl -sS productpage:9080/productpage",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if container == "istio-proxy" {
				return fmt.Errorf("there is no container istio-proxy: the proxy is a process of this machine; `lateen proxy-config` shows what it has")
			}
			run, err := runfile.Read(stateDir(cmd))
			if err != nil {
				return err
			}
			proxy, err := findProxy(run.Proxies, args[0], namespace)
			if err != nil {
				return err
			}
			return runner.Exec(cmd.Context(), run, proxy, args[1:])
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of the workload (default: the one in the name, else any)")
	cmd.Flags().StringVarP(&container, "container", "c", "", "taken as kubectl takes it; a workload has one application")
	cmd.Flags().BoolVarP(&stdin, "stdin", "i", true, "taken as kubectl takes it; standard input is always this command's")
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "taken as kubectl takes it; the terminal is always this command's")
	return cmd
}
