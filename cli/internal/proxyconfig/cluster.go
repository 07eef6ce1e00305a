package proxyconfig

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

// ClusterFilter selects clusters; zero fields select everything.
type ClusterFilter struct {
	FQDN      string // substring of the service's name
	Port      int
	Subset    string
	Direction string // inbound or outbound
}

// subsetKey is a cluster name in Istio's grammar: direction|port|subset|fqdn.
type subsetKey struct {
	direction, subset, fqdn string
	port                    int
}

func parseKey(name string) (subsetKey, bool) {
	p := strings.Split(name, "|")
	if len(p) != 4 {
		return subsetKey{}, false
	}
	port, err := strconv.Atoi(p[1])
	if err != nil {
		return subsetKey{}, false
	}
	return subsetKey{p[0], p[2], p[3], port}, true
}

func (f ClusterFilter) selects(c *clusterv3.Cluster) bool {
	if f == (ClusterFilter{}) {
		return true
	}
	k, ok := parseKey(c.Name)
	if !ok {
		k = subsetKey{fqdn: c.Name}
	}
	return (f.FQDN == "" || strings.Contains(k.fqdn, f.FQDN)) &&
		(f.Port == 0 || f.Port == k.port) &&
		(f.Subset == "" || f.Subset == k.subset) &&
		(f.Direction == "" || strings.EqualFold(f.Direction, k.direction))
}

func (d *Dump) clusters(f ClusterFilter) []Resource[*clusterv3.Cluster] {
	var out []Resource[*clusterv3.Cluster]
	for _, c := range d.Clusters {
		if f.selects(c.Msg) {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b Resource[*clusterv3.Cluster]) int {
		ka, oka := parseKey(a.Msg.Name)
		kb, okb := parseKey(b.Msg.Name)
		if !oka {
			ka.fqdn = a.Msg.Name
		}
		if !okb {
			kb.fqdn = b.Msg.Name
		}
		return cmp.Or(cmp.Compare(ka.fqdn, kb.fqdn), cmp.Compare(ka.subset, kb.subset),
			cmp.Compare(ka.port, kb.port), cmp.Compare(ka.direction, kb.direction))
	})
	return out
}

// ClustersJSON returns the selected clusters as a JSON array.
func (d *Dump) ClustersJSON(f ClusterFilter) (json.RawMessage, error) { return list(d.clusters(f)) }

// PrintClusters writes the cluster table.
func (d *Dump) PrintClusters(w io.Writer, f ClusterFilter) error {
	t := table(w, 5)
	fmt.Fprintln(t, "SERVICE FQDN\tPORT\tSUBSET\tDIRECTION\tTYPE\tDESTINATION RULE")
	for _, r := range d.clusters(f) {
		c := r.Msg
		kind := c.GetType().String()
		if c.GetClusterType() != nil {
			kind = c.GetClusterType().Name
		}
		k, ok := parseKey(c.Name)
		if !ok {
			fmt.Fprintf(t, "%s\t-\t-\t-\t%s\t%s\n", c.Name, kind, configName(c.Metadata))
			continue
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\n", k.fqdn, k.port, cmp.Or(k.subset, "-"), k.direction, kind, configName(c.Metadata))
	}
	return t.Flush()
}

// indent reformats JSON with four spaces, keeping the order of fields.
func indent(raw json.RawMessage) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "    "); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
