package model

import (
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// ProxyType is what a proxy stands in front of.
type ProxyType string

// Proxy types, as in the first part of a node id.
const (
	Sidecar ProxyType = "sidecar"
	Router  ProxyType = "router" // a gateway
)

// Interception modes (node metadata INTERCEPTION_MODE).
const (
	InterceptNone     = "NONE"
	InterceptRedirect = "REDIRECT"
	InterceptTProxy   = "TPROXY"
)

// Proxy is a client of the control plane, as its node describes it. It is immutable.
type Proxy struct {
	ID             string // the whole node id
	Type           ProxyType
	IP             string // of the id; INSTANCE_IPS[0] normally
	IPs            []string
	Name           string // pod or workload
	Namespace      string
	Domain         string // DNS domain, "shop.svc.cluster.local"
	Cluster        string // node.cluster
	Labels         map[string]string
	ServiceAccount string
	WorkloadName   string
	ClusterID      string
	Network        string // as the node says (NETWORK); see Snapshot.NetworkOf
	// NetworkView are the networks whose endpoints the proxy is told of (REQUESTED_NETWORK_VIEW); nil: all.
	NetworkView  map[string]bool
	Interception string // InterceptNone, ...
	// OwnsPorts: the proxy is at its workload's ports itself; else what comes to them is redirected to it. So it is without interception, and where only what
	// the workload calls is redirected (LATEEN_INBOUND_MODE "NONE").
	OwnsPorts    bool
	IstioVersion string
	Locality     Locality
	// Inbound maps a workload port to the address of the app behind it (LATEEN_INBOUND).
	Inbound map[uint32]string
	// Bind is the address of gateway listeners (LATEEN_BIND, default the first of Wildcards).
	Bind string
	// SystemRoots is the file that has the system's authorities at the proxy (LATEEN_SYSTEM_ROOTS); "": where most systems have it.
	SystemRoots string
	// HTTPProxy is the address of the explicit outbound proxy (LATEEN_HTTP_PROXY); with
	// interception NONE and nothing given there is none.
	HTTPProxy netip.AddrPort
	// DNSCapture: the agent answers the workload's DNS queries (DNS_CAPTURE). NoAutoAddress: not with addresses of the mesh's giving
	// (DNS_AUTO_ALLOCATE "false").
	DNSCapture, NoAutoAddress bool
	// SingleStack: of a proxy with addresses of both families IPv4 alone is served (DUAL_STACK "false").
	SingleStack bool
	// NameByName: the agent takes the name table one host a resource, so that a change costs what it changes (LATEEN_NAMES).
	NameByName bool
	// Verified is true when the node proved its namespace and service account by a certificate
	// of the mesh.
	Verified bool
	// Topology is gatewayTopology of the node's own proxy configuration (PROXY_CONFIG); nil:
	// the mesh's.
	Topology *Topology
	// Settings are those of the node's own proxy configuration (PROXY_CONFIG).
	Settings ProxySettings
	// Unprivileged proxies cannot listen below port 1024 (UNPRIVILEGED_POD).
	Unprivileged bool
	// OnDemand: a sidecar that asks for virtual hosts by incremental VHDS when requests name them
	// (LATEEN_ON_DEMAND, "true" or true). It is sent route configurations without virtual hosts, and
	// only the clusters that its listeners and the virtual hosts that it has asked for lead to.
	OnDemand bool
	// Group is the WorkloadGroup by which the proxy's workload registers itself (AUTO_REGISTER_GROUP), "" for none, and Entry the name of the
	// WorkloadEntry that it was given, which is set once it has registered.
	Group, Entry string
	// Probed: the node's own proxy configuration has a readiness probe (PROXY_CONFIG). AsksForProbe: its agent does the probe of the group
	// (LATEEN_HEALTH_CHECKS).
	Probed, AsksForProbe bool
	// Lacks are the filters of Istio's that the proxy's program has not, and is not sent. A program says so by listing the extensions that it has.
	Lacks IstioFilters
	// GRPC: the client is gRPC's own, in an application without a proxy (GENERATOR "grpc"), and asks for all by name.
	GRPC bool
	// Metadata is the whole node metadata, for what has no field here.
	Metadata map[string]any
}

// maxPath is how long the name of a file may be, in bytes, as in Linux.
const maxPath = 4096

// NodeError says why a node was refused.
type NodeError struct{ ID, Reason string }

func (e *NodeError) Error() string {
	return fmt.Sprintf("node %q: %s; want type~ip~name.namespace~namespace.svc.domain with Istio's node metadata", e.ID, e.Reason)
}

// ParseProxy reads a node: its id ("sidecar~10.1.2.3~web-1.shop~shop.svc.cluster.local"), its
// cluster, its metadata as JSON-like values (strings, float64, bool, maps, lists) and its
// locality. Metadata wins over the id where both speak. The error is a *NodeError.
func ParseProxy(id, cluster string, metadata map[string]any, locality Locality) (*Proxy, error) {
	parts := strings.Split(id, "~")
	if len(parts) != 4 {
		return nil, &NodeError{id, fmt.Sprintf("has %d parts, not 4", len(parts))}
	}
	p := &Proxy{ID: id, Type: ProxyType(parts[0]), IP: parts[1], Domain: parts[3], Cluster: cluster, Locality: locality, Metadata: metadata}
	if p.Type != Sidecar && p.Type != Router {
		return nil, &NodeError{id, fmt.Sprintf("unknown type %q", parts[0])}
	}
	if i := strings.LastIndexByte(parts[2], '.'); i > 0 {
		p.Name, p.Namespace = parts[2][:i], parts[2][i+1:]
	} else {
		return nil, &NodeError{id, fmt.Sprintf("%q is not name.namespace", parts[2])}
	}
	str := func(key string) string { s, _ := metadata[key].(string); return s }
	set := func(dst *string, key string) {
		if s := str(key); s != "" {
			*dst = s
		}
	}
	set(&p.Name, "NAME")
	set(&p.Namespace, "NAMESPACE")
	p.ServiceAccount, p.WorkloadName = str("SERVICE_ACCOUNT"), str("WORKLOAD_NAME")
	p.ClusterID, p.Network, p.IstioVersion = str("CLUSTER_ID"), str("NETWORK"), str("ISTIO_VERSION")
	says := func(key string, value bool) bool {
		v, _ := metadata[key].(string)
		return metadata[key] == value || strings.EqualFold(v, strconv.FormatBool(value))
	}
	p.DNSCapture, p.NoAutoAddress = says("DNS_CAPTURE", true), says("DNS_AUTO_ALLOCATE", false)
	p.NameByName, p.SingleStack = says("LATEEN_NAMES", true), says("DUAL_STACK", false)
	p.NetworkView = parseNetworkView(str("REQUESTED_NETWORK_VIEW"))
	p.Interception = InterceptRedirect
	set(&p.Interception, "INTERCEPTION_MODE")
	switch mode := str("LATEEN_INBOUND_MODE"); mode {
	case "", InterceptNone:
		p.OwnsPorts = mode == InterceptNone || p.Interception == InterceptNone
	default:
		return nil, &NodeError{id, fmt.Sprintf("LATEEN_INBOUND_MODE %q is not known; leave it out, or say NONE", mode)}
	}
	for _, ip := range strings.Split(str("INSTANCE_IPS"), ",") {
		if _, err := netip.ParseAddr(ip); err == nil {
			p.IPs = append(p.IPs, ip)
		}
	}
	if len(p.IPs) == 0 {
		if _, err := netip.ParseAddr(p.IP); err != nil {
			return nil, &NodeError{id, fmt.Sprintf("%q is not an IP address and INSTANCE_IPS has none", p.IP)}
		}
		p.IPs = []string{p.IP}
	}
	if _, err := netip.ParseAddr(p.IP); err != nil {
		p.IP = p.IPs[0]
	}
	p.Bind = p.Wildcards()[0]
	set(&p.Bind, "LATEEN_BIND")
	if _, err := netip.ParseAddr(p.Bind); err != nil {
		return nil, &NodeError{id, fmt.Sprintf("LATEEN_BIND %q is not an IP address", p.Bind)}
	}
	p.SystemRoots = str("LATEEN_SYSTEM_ROOTS")
	if p.SystemRoots != "" && (!path.IsAbs(p.SystemRoots) || len(p.SystemRoots) > maxPath) {
		return nil, &NodeError{id, fmt.Sprintf("LATEEN_SYSTEM_ROOTS %.200q is not the whole name of a file", p.SystemRoots)}
	}
	var err error
	p.Labels = map[string]string{}
	if m, ok := metadata["LABELS"].(map[string]any); ok {
		for k, v := range m {
			if s, ok := v.(string); ok {
				p.Labels[k] = s
			}
		}
	}
	if p.OnDemand, err = parseSwitch(metadata["LATEEN_ON_DEMAND"]); err != nil {
		return nil, &NodeError{id, "LATEEN_ON_DEMAND " + err.Error()}
	}
	p.OnDemand = p.OnDemand && p.Type == Sidecar
	if s := str("LATEEN_HTTP_PROXY"); s != "" {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, &NodeError{id, fmt.Sprintf("LATEEN_HTTP_PROXY %q is not ip:port", s)}
		}
		p.HTTPProxy = ap
	}
	p.Unprivileged = str("UNPRIVILEGED_POD") == "true"
	switch g := str("GENERATOR"); g {
	case "", "grpc":
		p.GRPC = g == "grpc"
	default:
		return nil, &NodeError{id, fmt.Sprintf("GENERATOR %q is not known here; leave it out, or say grpc", g)}
	}
	p.Group = str("AUTO_REGISTER_GROUP")
	if p.AsksForProbe, err = parseSwitch(metadata["LATEEN_HEALTH_CHECKS"]); err != nil {
		return nil, &NodeError{id, "LATEEN_HEALTH_CHECKS " + err.Error()}
	}
	if c, ok := metadata["PROXY_CONFIG"].(map[string]any); ok {
		t, err := parseTopology(c["gatewayTopology"])
		if err != nil {
			return nil, &NodeError{id, "PROXY_CONFIG: " + err.Error()}
		}
		p.Topology = t
		if p.Settings, err = parseSettings(c); err != nil {
			return nil, &NodeError{id, "PROXY_CONFIG: " + err.Error()}
		}
		_, p.Probed = c["readinessProbe"].(map[string]any)
	}
	if err := p.Settings.parseCapturePorts(str("LATEEN_CAPTURE_PORTS")); err != nil {
		return nil, &NodeError{id, err.Error()}
	}
	if p.Inbound, err = parseInbound(str("LATEEN_INBOUND")); err != nil {
		return nil, &NodeError{id, err.Error()}
	}
	return p, nil
}

// HasIPv6 reports whether the proxy serves IPv6: it has such an address.
func (p *Proxy) HasIPv6() bool {
	return (!p.SingleStack || p.IPv6Only()) && slices.ContainsFunc(p.IPs, func(ip string) bool { return strings.Contains(ip, ":") })
}

// IPv6Only reports whether the proxy has no IPv4 address.
func (p *Proxy) IPv6Only() bool {
	return !slices.ContainsFunc(p.IPs, func(ip string) bool { return !strings.Contains(ip, ":") })
}

// Wildcards are the addresses that stand for all of the proxy's, one a family, as Istio has them: IPv4 first.
func (p *Proxy) Wildcards() []string { return p.families("0.0.0.0", "::") }

// Loopbacks are the addresses of the proxy's own host, one a family.
func (p *Proxy) Loopbacks() []string { return p.families("127.0.0.1", "::1") }

// PassthroughSources are the addresses from which the proxy calls its workload, one a family, so that what redirects connections knows them from others:
// https://istio.io/latest/docs/ops/configuration/traffic-management/ (6 as in 15006).
func (p *Proxy) PassthroughSources() []string { return p.families("127.0.0.6", "::6") }

func (p *Proxy) families(v4, v6 string) []string {
	switch {
	case p.IPv6Only():
		return []string{v6}
	case p.HasIPv6():
		return []string{v4, v6}
	}
	return []string{v4}
}

// Label is the value of one of the proxy's labels, those of its place included.
func (p *Proxy) Label(key string) string {
	if key == ClusterLabel && p.ClusterID != "" {
		return p.ClusterID
	}
	return placeLabel(key, p.Locality, p.Network, p.Labels)
}

// parseTopology reads gatewayTopology as JSON-like values; nil when there is none.
func parseTopology(v any) (*Topology, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, nil
	}
	t := &Topology{}
	if n, ok := m["numTrustedProxies"].(float64); ok {
		if n < 0 || n > 1<<16 {
			return nil, fmt.Errorf("gatewayTopology.numTrustedProxies %v is not a number of proxies", n)
		}
		t.TrustedProxies = uint32(n)
	}
	if s, ok := m["forwardClientCertDetails"].(string); ok {
		if t.ForwardClientCert, ok = ParseForwardClientCert(s); !ok {
			return nil, fmt.Errorf("gatewayTopology.forwardClientCertDetails %q is not known", s)
		}
	}
	_, t.ProxyProtocol = m["proxyProtocol"].(map[string]any)
	return t, nil
}

// parseSwitch reads true and false, as JSON or as text; nothing is false.
func parseSwitch(v any) (bool, error) {
	switch v {
	case nil, "", "false", false:
		return false, nil
	case "true", true:
		return true, nil
	}
	return false, fmt.Errorf("%v is neither true nor false", v)
}

// parseInbound reads "3000=127.0.0.1:41234,8080=127.0.0.1:41235".
func parseInbound(s string) (map[uint32]string, error) {
	if s == "" {
		return nil, nil
	}
	out := map[uint32]string{}
	for _, item := range strings.Split(s, ",") {
		port, addr, ok := strings.Cut(strings.TrimSpace(item), "=")
		n, err := strconv.ParseUint(port, 10, 16)
		if !ok || err != nil || n == 0 {
			return nil, fmt.Errorf("LATEEN_INBOUND item %q is not port=ip:port", item)
		}
		if _, err := netip.ParseAddrPort(addr); err != nil {
			return nil, fmt.Errorf("LATEEN_INBOUND item %q: %q is not ip:port", item, addr)
		}
		out[uint32(n)] = addr
	}
	return out, nil
}

// Scope names the group of proxies that see the same outbound configuration: clusters,
// endpoints and routes depend on a proxy only through it. Labels belong to it only when some
// rule in the snapshot asks for them, so that a mesh without sourceLabels has one scope a
// namespace.
func (s *Snapshot) Scope(p *Proxy) string {
	b := append(make([]byte, 0, 96), p.Type...)
	b = append(b, '|')
	b = append(b, p.Namespace...)
	b = append(b, '|')
	b = append(b, p.Domain...)
	b = append(b, '|')
	b = append(b, p.Interception...)
	b = append(b, '|')
	b = append(b, s.NetworkOf(p)...)
	for _, n := range slices.Sorted(maps.Keys(p.NetworkView)) {
		b = append(b, ',')
		b = append(b, n...)
	}
	if p.GRPC {
		b = append(b, "|grpc"...)
	}
	if p.Lacks != 0 {
		b = append(b, "|lacks="...)
		b = strconv.AppendUint(b, uint64(p.Lacks), 10)
	}
	if p.OnDemand {
		b = append(b, "|ondemand"...)
	}
	if p.SystemRoots != "" {
		b = append(b, "|roots="...)
		b = append(b, p.SystemRoots...)
	}
	if p.Settings.Key != "" {
		b = append(b, '|')
		b = append(b, p.Settings.Key...)
	}
	if p.HasIPv6() {
		b = append(b, "|6"...)
		if p.IPv6Only() {
			b = append(b, "only"...)
		}
	}
	if p.DNSCapture {
		b = append(b, "|dns"...)
		if p.NoAutoAddress {
			b = append(b, "-"...)
		}
	}
	b = append(b, '|')
	b = append(b, p.Locality.Region...)
	b = append(b, '/')
	b = append(b, p.Locality.Zone...)
	b = append(b, '/')
	b = append(b, p.Locality.SubZone...)
	if p.Type == Router {
		// A gateway's routes depend on which Gateway objects select it.
		for _, g := range s.GatewaysFor(p) {
			b = append(b, '|')
			b = append(b, g.Key()...)
		}
	}
	if c := s.SidecarFor(p); c != nil {
		b = append(b, "|sidecar="...)
		b = append(b, c.Key()...)
	}
	for _, key := range s.RuleLabels {
		if v := p.Label(key); v != "" {
			b = append(b, '|')
			b = append(b, key...)
			b = append(b, '=')
			b = append(b, v...)
		}
	}
	return string(b)
}

// GatewaysFor returns the gateways whose selector chooses the proxy, oldest first.
func (s *Snapshot) GatewaysFor(p *Proxy) []*Gateway {
	var out []*Gateway
	for _, g := range s.Gateways.Values() {
		if (g.Within == "" || g.Within == p.Namespace) && LabelsMatch(g.Selector, p.Labels) {
			out = append(out, g)
		}
	}
	sort.SliceStable(out, func(i, j int) bool {
		return older(out[i].Created, out[i].Key(), out[j].Created, out[j].Key())
	})
	return slices.Clip(out)
}
