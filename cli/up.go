package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/up"
)

// upStateFolder is where `lateen up DIR` keeps its state below DIR. Commands that are called in DIR find it there.
const upStateFolder = ".lateen"

// newUpCommand returns `lateen up`, with stop and status below it.
func newUpCommand() *cobra.Command {
	var flags meshFlags
	cmd := &cobra.Command{
		Use:   "up DIR",
		Short: "Run the mesh that a folder describes on this machine",
		Long: `Starts the control plane, an ingress gateway, and the apps that DIR/` + up.AppsFile + ` names, each beside its own proxy, with the objects of
all other YAML files below DIR. DIR/` + up.MeshFile + ` may hold the mesh's settings (MeshConfig). Files that change are picked up: objects as with
'lateen apply', apps by starting, ending and restarting them. Ctrl-C ends everything. Needs no root.

State is kept in DIR/` + upStateFolder + ` unless --state-dir names another folder; commands called in DIR find the mesh by themselves.`,
		Example: "  lateen up samples/hello\n  lateen up . --detach\n  lateen up stop .",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			folder, err := up.New(args[0], cmd.OutOrStdout())
			if err != nil {
				return err
			}
			dir := upStateDir(cmd, args)
			if err := ignoreByGit(dir); err != nil {
				return err
			}
			return flags.run(cmd, meshRun{command: "up", args: args, stateDir: dir, content: folder})
		},
	}
	flags.register(cmd)
	for _, sub := range []*cobra.Command{newMeshStopCommand(upStateDir), newMeshStatusCommand(upStateDir)} {
		sub.Use += " [DIR]"
		sub.Args = cobra.MaximumNArgs(1)
		cmd.AddCommand(sub)
	}
	return cmd
}

// upStateDir is the state folder of the mesh of args[0], or of this folder.
func upStateDir(cmd *cobra.Command, args []string) string {
	if givenStateDir(cmd) != "" || os.Getenv("LATEEN_STATE") != "" || len(args) == 0 {
		return stateDir(cmd)
	}
	return filepath.Join(args[0], upStateFolder)
}

// ignoreByGit makes a state folder that keeps itself out of the user's repository: it holds keys.
func ignoreByGit(dir string) error {
	if filepath.Base(dir) != upStateFolder {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("state folder: %w; choose another with --state-dir", err)
	}
	return os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("*\n"), 0o644)
}
