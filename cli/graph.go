package cli

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/cli/internal/graph"
	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// newGraphCommand is `lateen graph`.
func newGraphCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Show who calls whom in the mesh on this machine, and how that goes",
		Long: `Reads Istio's metrics (istio_requests_total and istio_tcp_connections_opened_total) from every proxy and shows a line for each pair of workloads
between which there were calls: what Kiali's graph shows, since the proxies were started.`,
		Example: "  lateen graph\n  lateen graph -o dot | dot -Tsvg > mesh.svg",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" && output != "dot" {
				return fmt.Errorf("-o %q: want table, json or dot", output)
			}
			run, err := runfile.Read(stateDir(cmd))
			if err != nil {
				return err
			}
			var counts graph.Counts
			for _, p := range run.Proxies {
				raw, err := httpGet(cmd.Context(), "http://"+p.Admin+"/stats/prometheus", "the proxy of "+p.Name)
				if err != nil {
					return err
				}
				if err := counts.Read(bytes.NewReader(raw)); err != nil {
					return fmt.Errorf("the proxy of %s: %w", p.Name, err)
				}
			}
			edges := counts.Edges()
			switch output {
			case "json":
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(edges)
			case "dot":
				return graph.Dot(cmd.OutOrStdout(), edges)
			}
			return graph.Table(cmd.OutOrStdout(), edges)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or dot (Graphviz)")
	return cmd
}
