package translate

import (
	"strconv"
	"strings"
)

// Names that Istio gives and tools look for.
const (
	BlackHoleCluster   = "BlackHoleCluster"
	PassthroughCluster = "PassthroughCluster"
	// AnyHostCluster sends requests to the host that they name (outboundTrafficPolicy ALLOW_ANY_DYNAMIC_DNS).
	AnyHostCluster     = "AllowAnyDynamicDNSCluster"
	InboundPassthrough = "InboundPassthroughCluster"
	httpProxyRoute     = "http_proxy"
	passthroughSource  = "127.0.0.6" // source of connections to the app (B10)
	virtualOutbound    = "virtualOutbound"
	virtualInbound     = "virtualInbound"
)

// ClusterName is "outbound|80|v1|catalog.shop.svc.cluster.local".
func ClusterName(port uint32, subset, host string) string {
	return "outbound|" + strconv.FormatUint(uint64(port), 10) + "|" + subset + "|" + host
}

// ParseClusterName takes an outbound cluster name apart.
func ParseClusterName(name string) (port uint32, subset, host string, ok bool) {
	parts := strings.Split(name, "|")
	if len(parts) != 4 || parts[0] != "outbound" {
		return 0, "", "", false
	}
	n, err := strconv.ParseUint(parts[1], 10, 16)
	if err != nil {
		return 0, "", "", false
	}
	return uint32(n), parts[2], parts[3], true
}

// inboundName is "inbound|8080||", the name of an inbound cluster and of its route.
func inboundName(port uint32) string {
	return "inbound|" + strconv.FormatUint(uint64(port), 10) + "||"
}

// sniName is "outbound_.80_.v1_.catalog.shop.svc.cluster.local" (B11).
func sniName(port uint32, subset, host string) string {
	return "outbound_." + strconv.FormatUint(uint64(port), 10) + "_." + subset + "_." + host
}

// socketPath is the path in "unix:///path" or "unix://@name".
func socketPath(s string) (string, bool) { return strings.CutPrefix(s, "unix://") }

func isSocket(s string) bool { return strings.HasPrefix(s, "unix://") }

func hostPort(host string, port uint32) string {
	return host + ":" + strconv.FormatUint(uint64(port), 10)
}

func listenerName(ip string, port uint32) string {
	return ip + "_" + strconv.FormatUint(uint64(port), 10)
}
