package demo

import (
	"fmt"
	"io"

	"github.com/lateen-mesh/lateen/localmesh"
	"github.com/lateen-mesh/lateen/workload"
)

// Table implements localmesh.Content: what runs, where, and what to try next.
func (s *Shop) Table(out io.Writer, p localmesh.Place) error {
	var rows []localmesh.Row
	for _, w := range s.workloads {
		if w.Type == workload.Outside {
			rows = append(rows, localmesh.Row{What: "users, outside the mesh", Where: "http://" + usersAddress(p), Admin: "-"})
			continue
		}
		rows = append(rows, localmesh.Row{What: w.Deployment, Where: where(w), Admin: "http://" + w.Admin()})
	}
	if err := p.WriteTable(out, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, `
The shop is open. Try:
  curl localhost:%d/api/catalog
  %[2]s proxy-status
  %[2]s proxy-config routes deploy/webapp.%[3]s
  %[2]s apply -f samples/shop/mesh/catalog-subsets.yaml -f samples/shop/mesh/catalog-90-10.yaml
  %[2]s sample fault --app catalog --version v1 --rate 0.5 --status 500
`, p.HTTP(), p.Command(), shopNamespace)
	return err
}
