package agent

import "google.golang.org/protobuf/types/known/structpb"

// proxyName is what a node's cluster is where nobody has another name for it. Said as a name it counts as none, as in Istio.
const proxyName = "istio-proxy"

// ClusterRule says of what a node's cluster is made where it has no name of its own; the zero value: not said. The others are Istio's
// (ProxyConfig.TracingServiceName).
type ClusterRule uint8

// Rules.
const (
	ClusterByDefault            ClusterRule     = iota
	ByAppAndNamespace                           // APP_LABEL_AND_NAMESPACE, which is the default
	ByCanonicalName                             // CANONICAL_NAME_ONLY
	ByCanonicalNameAndNamespace                 // CANONICAL_NAME_AND_NAMESPACE
	clusterRules                = int(iota) - 1 // how many Istio has
)

// ClusterRules are the rules by their names.
var ClusterRules = map[string]ClusterRule{
	"APP_LABEL_AND_NAMESPACE": ByAppAndNamespace, "CANONICAL_NAME_ONLY": ByCanonicalName, "CANONICAL_NAME_AND_NAMESPACE": ByCanonicalNameAndNamespace,
}

// nodeCluster is the cluster of the node, by which spans and calls name their origin: the name that is said, else what the rule makes of the labels. It
// is getServiceCluster of Istio's pkg/bootstrap.
func (c Config) nodeCluster(meta *structpb.Struct) string {
	name, label := c.Cluster, meta.GetFields()["LABELS"].GetStructValue().GetFields()
	if name == "" && c.ClusterRule >= ByCanonicalName {
		name = label["service.istio.io/canonical-name"].GetStringValue()
		if c.ClusterRule == ByCanonicalNameAndNamespace && c.Namespace != "" {
			return name + "." + c.Namespace
		}
	}
	if name != "" && name != proxyName {
		return name
	}
	name = proxyName
	if app, ok := label["app"]; ok {
		name = app.GetStringValue()
	} else if w := meta.GetFields()["WORKLOAD_NAME"].GetStringValue(); w != "" {
		name = w
	}
	if c.Namespace == "" {
		return name
	}
	return name + "." + c.Namespace
}
