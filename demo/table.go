package demo

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// writeTable says what runs, where, and what to try next.
func writeTable(out io.Writer, p *plan) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "WHAT\tWHERE\tADMIN")
	fmt.Fprintf(w, "control plane\t%s\thttp://%s\n", p.controlPlane(15012), p.controlPlane(15014))
	for _, wl := range p.workloads {
		if wl.Kind == "" {
			fmt.Fprintf(w, "gateway\thttp://localhost:%d\thttp://%s\n", p.http(), wl.admin())
			fmt.Fprintf(w, "  its ports 443 and 31400\tlocalhost:%d, localhost:%d\t\n", p.tls(), p.tcp())
			continue
		}
		fmt.Fprintf(w, "%s\t%s:%d\thttp://%s\n", wl.Deployment, wl.IP, wl.Port, wl.admin())
	}
	fmt.Fprintf(w, "users, outside the mesh\thttp://%s\t-\n", p.usersAddress())
	if err := w.Flush(); err != nil {
		return err
	}
	me := p.command()
	fmt.Fprintf(&b, `
The shop is open. Try:
  curl localhost:%d/api/catalog
  %[2]s proxy-status
  %[2]s proxy-config routes deploy/webapp.%[3]s
  %[2]s apply -f samples/shop/mesh/catalog-subsets.yaml -f samples/shop/mesh/catalog-90-10.yaml
  %[2]s sample fault --app catalog --version v1 --rate 0.5 --status 500
`, p.http(), me, shopNamespace)
	_, err := io.WriteString(out, b.String())
	return err
}

// command is how the user calls this program, with the flag that finds this mesh where it is needed.
func (p *plan) command() string {
	me := "lateen"
	if p.goRun {
		me = "go run ./cmd/lateen"
	}
	if p.stateFlag != "" {
		me += " --state-dir " + p.stateFlag
	}
	return me
}
