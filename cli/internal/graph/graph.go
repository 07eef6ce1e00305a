// Package graph draws who calls whom from what the proxies count: Istio's standard metrics with their labels, of which Kiali makes its graph
// as well (https://istio.io/latest/docs/reference/config/metrics/).
//
// Read takes one proxy's metrics in, Edges says what all of them come to; both are pure. Package cli fetches the metrics and imports it.
package graph

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// The metrics that are read: requests, and connections of bytes.
const (
	requests    = "istio_requests_total"
	connections = "istio_tcp_connections_opened_total"
)

// Node is a workload.
type Node struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// String is NAME.NAMESPACE; what has no proxy is unknown.
func (n Node) String() string {
	if n.Namespace == "" || n.Namespace == "unknown" {
		return n.Name
	}
	return n.Name + "." + n.Namespace
}

// Edge is the calls from one workload to another by way of a service.
type Edge struct {
	Source      Node `json:"source"`
	Destination Node `json:"destination"`
	// Service is the name of the service that was called, without its namespace.
	Service string `json:"service"`
	// Protocol is http, grpc or tcp.
	Protocol string `json:"protocol"`
	// Requests are those since the proxies started, connections for tcp; Errors are those of them that failed: a status of 500 and above, none at
	// all, or of gRPC any but OK.
	Requests float64 `json:"requests"`
	Errors   float64 `json:"errors"`
	// Security is mutual_tls, none or unknown: what the destination's proxy saw.
	Security string `json:"security"`
}

type key struct {
	source, destination Node
	service, protocol   string
}

// tally is what one end of a call has counted.
type tally struct{ requests, errors float64 }

// Counts is what proxies have counted.
type Counts struct {
	source, destination map[key]*tally
	security            map[key]string
}

// Read adds one proxy's metrics, in Prometheus' text format.
func (c *Counts) Read(text io.Reader) error {
	if c.source == nil {
		c.source, c.destination, c.security = map[key]*tally{}, map[key]*tally{}, map[key]string{}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	for _, name := range []string{requests, connections} {
		for _, m := range families[name].GetMetric() {
			c.add(m)
		}
	}
	return nil
}

func (c *Counts) add(m *dto.Metric) {
	label := map[string]string{}
	for _, l := range m.Label {
		label[l.GetName()] = l.GetValue()
	}
	k := key{
		Node{label["source_workload"], label["source_workload_namespace"]}, Node{label["destination_workload"], label["destination_workload_namespace"]},
		label["destination_service_name"], label["request_protocol"],
	}
	n := cmp.Or(m.GetCounter().GetValue(), m.GetUntyped().GetValue())
	if n == 0 {
		return
	}
	into := c.source
	if label["reporter"] == "destination" {
		into = c.destination
		if s := label["connection_security_policy"]; s != "" && c.security[k] != "none" {
			c.security[k] = s // one call in the clear is what people want to know of
		}
	}
	t := into[k]
	if t == nil {
		t = &tally{}
		into[k] = t
	}
	t.requests += n
	if failed(label) {
		t.errors += n
	}
}

func failed(label map[string]string) bool {
	if label["request_protocol"] == "tcp" {
		return label["response_flags"] != "" && label["response_flags"] != "-"
	}
	if status := label["grpc_response_status"]; label["request_protocol"] == "grpc" && status != "" {
		return status != "0"
	}
	code, err := strconv.Atoi(label["response_code"])
	return err != nil || code == 0 || code >= 500
}

// Edges are the calls, by source and destination. A call that both ends have counted counts once, as the source has it: it knows of those that
// never arrived.
func (c *Counts) Edges() []Edge {
	all := map[key]*tally{}
	for k, t := range c.destination {
		all[k] = t
	}
	for k, t := range c.source {
		all[k] = t
	}
	out := make([]Edge, 0, len(all))
	for k, t := range all {
		out = append(out, Edge{k.source, k.destination, k.service, k.protocol, t.requests, t.errors, cmp.Or(c.security[k], "unknown")})
	}
	slices.SortFunc(out, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.Source.String(), b.Source.String()), cmp.Compare(a.Destination.String(), b.Destination.String()),
			cmp.Compare(a.Service, b.Service), cmp.Compare(a.Protocol, b.Protocol))
	})
	return out
}

// Table writes edges for people.
func Table(out io.Writer, edges []Edge) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "SOURCE\tDESTINATION\tSERVICE\tPROTOCOL\tREQUESTS\tERRORS\tSECURITY")
	for _, e := range edges {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.0f\t%s\t%s\n", e.Source, e.Destination, e.Service, e.Protocol, e.Requests, share(e), e.Security)
	}
	return w.Flush()
}

// Dot writes edges in Graphviz' language.
func Dot(out io.Writer, edges []Edge) error {
	var b strings.Builder
	b.WriteString("digraph mesh {\n  rankdir=LR;\n  node [shape=box];\n")
	for _, e := range edges {
		color := "black"
		if e.Errors > 0 {
			color = "red"
		}
		fmt.Fprintf(&b, "  %q -> %q [label=%q, color=%s];\n", e.Source, e.Destination, fmt.Sprintf("%.0f %s, %s errors", e.Requests, e.Protocol, share(e)), color)
	}
	b.WriteString("}\n")
	_, err := io.WriteString(out, b.String())
	return err
}

func share(e Edge) string {
	if e.Errors == 0 {
		return "0%"
	}
	return strconv.FormatFloat(100*e.Errors/e.Requests, 'f', 1, 64) + "%"
}
