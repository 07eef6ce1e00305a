package cli

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/pkg/jointoken"
)

// newCreateCommand is `lateen create`, with kubectl's form of what it can make.
func newCreateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "create", Short: "Make what workloads elsewhere need to join"}
	var namespace, caDir string
	var life time.Duration
	token := &cobra.Command{
		Use:   "token SERVICE-ACCOUNT",
		Short: "Print a token with which a workload joins as a service account",
		Long: `Prints a join token, as kubectl prints a service account's: whoever has it gets a certificate of that service account. It is for a host elsewhere:
put it into the file that 'lateen run --token-file' names, together with STATE/ca/root-cert.pem. The key that signs it is made when the control plane first starts.`,
		Example: "  lateen create token db -n shop --duration 1h > token",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if life <= 0 {
				return fmt.Errorf("--duration %s: want how long the token is good, such as 12h", life)
			}
			if caDir == "" {
				caDir = filepath.Join(stateDir(cmd), "ca")
			}
			key, err := jointoken.ReadKey(caDir)
			if err != nil {
				return err
			}
			text, err := jointoken.Mint(key, namespace, args[0], time.Now(), life)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
	flags := token.Flags()
	flags.StringVarP(&namespace, "namespace", "n", "default", "namespace of the service account")
	flags.DurationVar(&life, "duration", 12*time.Hour, "how long the token is good; workloads that have joined renew their certificates without it")
	flags.StringVar(&caDir, "ca-dir", "", "folder of the certificate authority (default STATE/ca)")
	cmd.AddCommand(token)
	return cmd
}
