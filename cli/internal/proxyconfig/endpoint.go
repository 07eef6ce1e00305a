package proxyconfig

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
)

// EndpointFilter selects endpoints; zero fields select everything.
type EndpointFilter struct {
	Cluster string
	Address string
	Port    uint32
	Status  string // HEALTHY, UNHEALTHY, ...
}

func (f EndpointFilter) selects(cluster string, h *adminv3.HostStatus) bool {
	a := h.GetAddress().GetSocketAddress()
	return (f.Cluster == "" || f.Cluster == cluster) &&
		(f.Address == "" || strings.EqualFold(f.Address, a.GetAddress())) &&
		(f.Port == 0 || f.Port == a.GetPortValue()) &&
		(f.Status == "" || strings.EqualFold(f.Status, h.GetHealthStatus().GetEdsHealthStatus().String()))
}

// selectEndpoints returns a copy of the clusters with only the chosen hosts, without clusters that have none left.
func selectEndpoints(all *adminv3.Clusters, f EndpointFilter) []*adminv3.ClusterStatus {
	var out []*adminv3.ClusterStatus
	for _, c := range all.GetClusterStatuses() {
		var hosts []*adminv3.HostStatus
		for _, h := range c.GetHostStatuses() {
			if f.selects(c.Name, h) {
				hosts = append(hosts, h)
			}
		}
		if len(hosts) == 0 {
			continue
		}
		out = append(out, &adminv3.ClusterStatus{
			Name: c.Name, AddedViaApi: c.AddedViaApi, SuccessRateEjectionThreshold: c.SuccessRateEjectionThreshold, HostStatuses: hosts,
			CircuitBreakers: c.CircuitBreakers, ObservabilityName: c.ObservabilityName, EdsServiceName: c.EdsServiceName,
		})
	}
	slices.SortStableFunc(out, func(a, b *adminv3.ClusterStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// EndpointsJSON returns the selected endpoints, grouped by cluster, as a JSON array.
func EndpointsJSON(all *adminv3.Clusters, f EndpointFilter) (json.RawMessage, error) {
	var parts []string
	for _, c := range selectEndpoints(all, f) {
		b, err := encode(c)
		if err != nil {
			return nil, err
		}
		parts = append(parts, string(b))
	}
	return json.RawMessage("[" + strings.Join(parts, ",") + "]"), nil
}

// PrintEndpoints writes the endpoint table.
func PrintEndpoints(w io.Writer, all *adminv3.Clusters, f EndpointFilter) error {
	type line struct {
		address, status, outlier, cluster string
		port                              uint32
	}
	var lines []line
	for _, c := range selectEndpoints(all, f) {
		for _, h := range c.GetHostStatuses() {
			l := line{cluster: c.Name, status: h.GetHealthStatus().GetEdsHealthStatus().String(), outlier: "OK"}
			if h.GetHealthStatus().GetFailedOutlierCheck() {
				l.outlier = "FAILED"
			}
			if s := h.GetAddress().GetSocketAddress(); s != nil {
				l.address, l.port = s.GetAddress(), s.GetPortValue()
			} else {
				l.address = "unix://" + h.GetAddress().GetPipe().GetPath()
			}
			lines = append(lines, l)
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.address, b.address), cmp.Compare(a.port, b.port), cmp.Compare(a.cluster, b.cluster))
	})
	t := table(w, 5)
	fmt.Fprintln(t, "ENDPOINT\tSTATUS\tOUTLIER CHECK\tCLUSTER")
	for _, l := range lines {
		address := l.address
		if l.port != 0 {
			address = fmt.Sprintf("%s:%d", l.address, l.port)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", address, l.status, l.outlier, l.cluster)
	}
	return t.Flush()
}
