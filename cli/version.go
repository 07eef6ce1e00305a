package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/pkg/version"
)

// newVersionCommand returns `lateen version`.
func newVersionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program and of the Istio it speaks as",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch output {
			case "json":
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(version.Get())
			case "":
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "client version: %s (Istio %s)\n", version.Version(), version.IstioCompat)
				return err
			default:
				return fmt.Errorf("output format %q is not known: use json, or leave -o out", output)
			}
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "output format: json")
	return cmd
}
