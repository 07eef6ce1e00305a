package proxyconfig

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
)

// ListenerFilter selects listeners; zero fields select everything.
type ListenerFilter struct {
	Address string
	Port    uint32
	Type    string // HTTP or TCP
}

const (
	hcmName = "envoy.filters.network.http_connection_manager"
	tcpName = "envoy.filters.network.tcp_proxy"
)

func (f ListenerFilter) selects(l *listenerv3.Listener) bool {
	a := l.GetAddress().GetSocketAddress()
	return (f.Address == "" || strings.EqualFold(f.Address, a.GetAddress())) &&
		(f.Port == 0 || f.Port == a.GetPortValue()) &&
		(f.Type == "" || strings.EqualFold(f.Type, listenerType(l)))
}

// listenerType is HTTP if a filter chain ends in the HTTP connection manager, else TCP, else UNKNOWN.
func listenerType(l *listenerv3.Listener) string {
	kind := "UNKNOWN"
	for _, c := range chains(l) {
		for _, f := range c.GetFilters() {
			switch f.Name {
			case hcmName:
				return "HTTP"
			case tcpName:
				kind = "TCP"
			}
		}
	}
	return kind
}

func chains(l *listenerv3.Listener) []*listenerv3.FilterChain {
	all := slices.Clone(l.GetFilterChains())
	if d := l.GetDefaultFilterChain(); d != nil {
		all = append(all, d)
	}
	return all
}

func (d *Dump) listeners(f ListenerFilter) []Resource[*listenerv3.Listener] {
	var out []Resource[*listenerv3.Listener]
	for _, l := range d.Listeners {
		if f.selects(l.Msg) {
			out = append(out, l)
		}
	}
	slices.SortStableFunc(out, func(a, b Resource[*listenerv3.Listener]) int {
		x, y := a.Msg.GetAddress().GetSocketAddress(), b.Msg.GetAddress().GetSocketAddress()
		return cmp.Or(cmp.Compare(x.GetPortValue(), y.GetPortValue()), cmp.Compare(x.GetAddress(), y.GetAddress()),
			cmp.Compare(a.Msg.Name, b.Msg.Name))
	})
	return out
}

// ListenersJSON returns the selected listeners as a JSON array.
func (d *Dump) ListenersJSON(f ListenerFilter) (json.RawMessage, error) { return list(d.listeners(f)) }

// PrintListeners writes the listener table: a row a filter chain.
func (d *Dump) PrintListeners(w io.Writer, f ListenerFilter) error {
	t := table(w, 1)
	fmt.Fprintln(t, "ADDRESS\tPORT\tMATCH\tDESTINATION")
	for _, r := range d.listeners(f) {
		address, port := where(r.Msg.GetAddress())
		for _, c := range chains(r.Msg) {
			match := describeChain(c)
			if c == r.Msg.GetDefaultFilterChain() {
				match = "ALL"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", address, port, match, describeDestination(c))
		}
	}
	return t.Flush()
}

func where(a *corev3.Address) (address, port string) {
	if s := a.GetSocketAddress(); s != nil {
		return s.GetAddress(), fmt.Sprint(s.GetPortValue())
	}
	return "unix://" + a.GetPipe().GetPath(), "-"
}

func describeChain(c *listenerv3.FilterChain) string {
	m := c.GetFilterChainMatch()
	var parts []string
	if s := m.GetServerNames(); len(s) > 0 {
		parts = append(parts, "SNI: "+strings.Join(s, ","))
	}
	if s := m.GetTransportProtocol(); s != "" {
		parts = append(parts, "Trans: "+s)
	}
	if s := m.GetApplicationProtocols(); len(s) > 0 {
		parts = append(parts, "App: "+strings.Join(s, ","))
	}
	if n := m.GetDestinationPort().GetValue(); n != 0 {
		parts = append(parts, fmt.Sprintf("Port: %d", n))
	}
	var addrs []string
	for _, p := range m.GetPrefixRanges() {
		addrs = append(addrs, fmt.Sprintf("%s/%d", p.GetAddressPrefix(), p.GetPrefixLen().GetValue()))
	}
	if len(addrs) > 0 {
		parts = append(parts, "Addr: "+strings.Join(addrs, ","))
	}
	if len(parts) == 0 {
		return "ALL"
	}
	return strings.Join(parts, "; ")
}

// describeDestination says where a filter chain sends what it takes.
func describeDestination(c *listenerv3.FilterChain) string {
	for _, f := range slices.Backward(c.GetFilters()) {
		switch f.Name {
		case hcmName:
			h := &hcmv3.HttpConnectionManager{}
			if f.GetTypedConfig().UnmarshalTo(h) != nil {
				return "HTTP"
			}
			if n := h.GetRds().GetRouteConfigName(); n != "" {
				return "Route: " + n
			}
			return describeInline(h.GetRouteConfig())
		case tcpName:
			p := &tcpv3.TcpProxy{}
			if f.GetTypedConfig().UnmarshalTo(p) != nil {
				return "TCP"
			}
			if p.GetCluster() != "" {
				return describeCluster(p.GetCluster())
			}
			var names []string
			for _, wc := range p.GetWeightedClusters().GetClusters() {
				names = append(names, fmt.Sprintf("%s(%d)", wc.Name, wc.Weight))
			}
			return "Cluster: " + strings.Join(names, ", ")
		}
	}
	return "Non-HTTP/Non-TCP"
}

func describeCluster(name string) string {
	if strings.HasPrefix(name, "outbound|") || strings.HasPrefix(name, "inbound|") {
		return "Cluster: " + name
	}
	return name
}

// describeInline describes a route configuration inside a listener: the cluster it leads to if there is one, else its paths.
func describeInline(rc *routev3.RouteConfiguration) string {
	var paths []string
	cluster, same := "", true
	for _, vh := range rc.GetVirtualHosts() {
		for _, r := range vh.GetRoutes() {
			paths = append(paths, describeMatch(r.GetMatch()))
			c := r.GetRoute().GetCluster()
			if cluster != "" && c != cluster {
				same = false
			}
			cluster = c
		}
	}
	if same && strings.HasPrefix(cluster, "inbound|") {
		return "Cluster: " + cluster
	}
	return "Inline Route: " + strings.Join(paths, ", ")
}
