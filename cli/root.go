// Package cli holds the commands of `lateen`, one file each.
//
// A command reads its flags, finds the running mesh through the state folder (pkg/runfile), asks the program that knows (the control
// plane's debug pages, a proxy's admin API, the files of the config store), and prints. No command holds logic of the mesh itself.
// Only cmd/lateen imports it.
package cli

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/pkg/version"
)

// stateDirFlag names the persistent flag that every command shares.
const stateDirFlag = "state-dir"

// commands lists every top-level command, in the order of the help page's groups. A new command adds its constructor here and
// nothing anywhere else.
var commands = []func() *cobra.Command{
	newDemoCommand,
	newUpCommand,
	newRunCommand,
	newExecCommand,
	newCreateCommand,
	newApplyCommand,
	newDeleteCommand,
	newGetCommand,
	newAnalyzeCommand,
	newSampleCommand,
	newVersionCommand,
	newProxyStatusCommand,
	newProxyConfigCommand,
	newGraphCommand,
	newRootCACommand,
	newControlPlaneCommand,
	newProxyCommand,
}

// NewRoot returns the command `lateen` with all its sub-commands. Errors are left to the caller to print, once.
func NewRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "lateen",
		Short:         "A service mesh with Istio's API, in one program",
		Version:       version.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().String(stateDirFlag, "",
		"folder of the mesh's state: configuration, certificates, logs (default $LATEEN_STATE, else .lateen of a mesh that runs from this folder, else ~/.lateen)")
	for _, construct := range commands {
		root.AddCommand(construct())
	}
	return root
}

// stateDir returns the folder that --state-dir names, else $LATEEN_STATE, else that of the mesh which runs from this folder, else ~/.lateen. The folder need not exist.
func stateDir(cmd *cobra.Command) string {
	if f := cmd.Flag(stateDirFlag); f != nil && f.Value.String() != "" {
		return f.Value.String()
	}
	if dir := os.Getenv("LATEEN_STATE"); dir != "" {
		return dir
	}
	if _, err := os.Stat(filepath.Join(upStateFolder, runfile.Name)); err == nil {
		return upStateFolder
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = os.TempDir() // a service account without a home still has a place to keep state
	}
	return filepath.Join(home, ".lateen")
}
