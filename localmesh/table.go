package localmesh

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Row is a line of the table of what runs.
type Row struct{ What, Where, Admin string }

// WriteTable says what runs and where: the control plane, the gateway, and the rows.
func (p Place) WriteTable(out io.Writer, rows []Row) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "WHAT\tWHERE\tADMIN")
	fmt.Fprintf(w, "control plane\t%s\thttp://%s\n", p.ControlPlane(15012), p.ControlPlane(15014))
	fmt.Fprintf(w, "gateway\thttp://localhost:%d\thttp://%s\n", p.HTTP(), p.gatewayWorkload().Admin())
	fmt.Fprintf(w, "  its ports 443 and 31400\tlocalhost:%d, localhost:%d\t\n", p.TLS(), p.TCP())
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.What, r.Where, r.Admin)
	}
	return w.Flush()
}
