package envoyfilter

import (
	"slices"
	"strconv"
	"strings"

	clusterpb "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
)

// ClusterKey names the patches that change a cluster, by revision: "" for none. hosts are those of the services behind an inbound cluster,
// whose name has none. removed says that one of them removes it.
func (ps *Patches) ClusterKey(c Context, name string, hosts []string) (key string, removed bool) {
	if ps == nil {
		return "", false
	}
	var b strings.Builder
	for _, e := range ps.by[networking.EnvoyFilter_CLUSTER] {
		if e.Operation == opAdd || !e.forCluster(c, name, hosts) {
			continue
		}
		e.writeKey(&b)
		if e.Operation == opRemove {
			ps.note(e, name)
			return b.String(), true
		}
	}
	return b.String(), false
}

// Cluster merges the patches into a cluster.
func (ps *Patches) Cluster(c Context, in *clusterpb.Cluster, hosts []string) *clusterpb.Cluster {
	name := in.GetName() // by which routes lead to it: merging does not change it
	out := in
	for _, e := range ps.by[networking.EnvoyFilter_CLUSTER] {
		if !e.merges() || !e.forCluster(c, name, hosts) {
			continue
		}
		if out == in {
			out = proto.Clone(in).(*clusterpb.Cluster)
		}
		if mergeCluster(out, e) {
			ps.note(e, name)
		}
		out.Name = name
	}
	return out
}

// mergeCluster merges a patch's value into a cluster. A value with a transport socket is for that alone, as in Istio: merged into the cluster's of the same
// name, be it the only one or one of those to choose from, or in its place. It reports false when it cannot be merged.
func mergeCluster(c *clusterpb.Cluster, e *patch) bool {
	value := e.Value.(*clusterpb.Cluster).GetTransportSocket()
	if value == nil {
		mergeInto(c, e)
		return true
	}
	if choices := c.GetTransportSocketMatches(); len(choices) > 0 {
		for _, m := range choices {
			if ts := m.GetTransportSocket(); ts.GetName() == value.GetName() {
				return mergeSocket(ts, value)
			}
		}
		return false
	}
	if ts := c.GetTransportSocket(); ts != nil && ts.GetName() == value.GetName() {
		return mergeSocket(ts, value)
	}
	c.TransportSocket = proto.Clone(value).(*corepb.TransportSocket)
	return true
}

// mergeSocket merges the settings of two transport sockets of one name.
func mergeSocket(dst, src *corepb.TransportSocket) bool {
	if dst.GetTypedConfig() == nil || src.GetTypedConfig() == nil {
		return false
	}
	merged, ok := mergeAny(dst.GetTypedConfig(), src.GetTypedConfig())
	if ok {
		dst.ConfigType = &corepb.TransportSocket_TypedConfig{TypedConfig: merged}
	}
	return ok
}

// Added is a cluster or extension that a patch adds.
type Added[M proto.Message] struct {
	Key     string // names the patch, by revision
	Message M      // not to be changed
}

// AddedClusters returns the clusters that patches add in a context.
func (ps *Patches) AddedClusters(c Context) []Added[*clusterpb.Cluster] {
	if ps == nil {
		return nil
	}
	var out []Added[*clusterpb.Cluster]
	for _, e := range ps.by[networking.EnvoyFilter_CLUSTER] {
		if e.adds(c) {
			out = append(out, added[*clusterpb.Cluster](e))
			ps.note(e, out[len(out)-1].Message.GetName())
		}
	}
	return out
}

// Extensions returns the extension configurations that patches add, of those asked for. The first of a name counts.
func (ps *Patches) Extensions(names []string) []Added[*corepb.TypedExtensionConfig] {
	if ps == nil {
		return nil
	}
	var out []Added[*corepb.TypedExtensionConfig]
	for _, e := range ps.by[networking.EnvoyFilter_EXTENSION_CONFIG] {
		name := e.Value.(*corepb.TypedExtensionConfig).GetName()
		if !slices.Contains(names, name) || slices.ContainsFunc(out, func(a Added[*corepb.TypedExtensionConfig]) bool { return a.Message.GetName() == name }) {
			continue
		}
		out = append(out, added[*corepb.TypedExtensionConfig](e))
		ps.note(e, name)
	}
	return out
}

// ExtensionNames are the names of all extension configurations that patches add.
func (ps *Patches) ExtensionNames() []string {
	if ps == nil {
		return nil
	}
	var out []string
	for _, e := range ps.by[networking.EnvoyFilter_EXTENSION_CONFIG] {
		out = append(out, e.Value.(*corepb.TypedExtensionConfig).GetName())
	}
	return out
}

func added[M proto.Message](e *patch) Added[M] {
	var key strings.Builder
	e.writeKey(&key)
	return Added[M]{key.String(), e.Value.(M)}
}

// forCluster reports whether a patch is for a cluster: by its name, or by what its name says ("outbound|80|v1|catalog.shop.svc.cluster.local").
func (e *patch) forCluster(c Context, name string, hosts []string) bool {
	if !e.in(c) {
		return false
	}
	m := e.Match.GetCluster()
	if m == nil {
		return true
	}
	if m.GetName() != "" {
		return m.GetName() == name
	}
	var subset string
	var port uint64
	if parts := strings.Split(name, "|"); len(parts) == 4 {
		port, _ = strconv.ParseUint(parts[1], 10, 16) // what is no number is no port
		subset = parts[2]
		if parts[0] != "inbound" || len(hosts) == 0 {
			hosts = []string{parts[3]}
		}
	}
	return (m.GetSubset() == "" || m.GetSubset() == subset) &&
		(m.GetService() == "" || slices.Contains(hosts, m.GetService())) &&
		(m.GetPortNumber() == 0 || uint64(m.GetPortNumber()) == port)
}
