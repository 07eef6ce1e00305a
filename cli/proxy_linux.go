package cli

import (
	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/proxy/proxycmd"
)

// newProxyCommand returns `lateen proxy`, which is what the program lateen-proxy is.
func newProxyCommand() *cobra.Command { return proxycmd.New("proxy") }
