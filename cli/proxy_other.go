//go:build !linux

package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// newProxyCommand returns a `lateen proxy` that says why it does nothing here.
func newProxyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "proxy", Short: "Run the data plane (Linux only)", DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("the data plane runs on Linux only; control plane and command line work here")
		},
	}
}
