package cli

import (
	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/demo"
)

// newDemoCommand returns `lateen demo`, with stop and status below it.
func newDemoCommand() *cobra.Command {
	var flags meshFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole mesh with a sample shop on this machine",
		Long: `Starts the control plane, an ingress gateway, and a shop of small services, each beside its own proxy, and a service outside
the mesh. Prints what runs where and what to try, then stays in the foreground; Ctrl-C ends everything. Needs no root.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir := stateDir(cmd)
			return flags.run(cmd, meshRun{command: "demo", stateDir: dir, content: &demo.Shop{}})
		},
	}
	flags.register(cmd)
	cmd.AddCommand(newMeshStopCommand(demoStateDir), newMeshStatusCommand(demoStateDir))
	return cmd
}

func demoStateDir(cmd *cobra.Command, _ []string) string { return stateDir(cmd) }
