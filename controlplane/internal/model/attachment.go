package model

import "slices"

// GatewayNameLabel names the Gateway of the Gateway API that a proxy stands for.
const GatewayNameLabel = "gateway.networking.k8s.io/gateway-name"

// Attachment says which proxies an object is for, among those that see its namespace: those that its labels select, or those of the Gateways that it
// names.
type Attachment struct {
	// Selector are the labels of workloads that are meant; nil: all of the namespace, in the root namespace of the mesh.
	Selector map[string]string
	// Targeted: the object has targetRefs. Only the proxies of the named Gateways (of the Gateway API, in the object's own namespace) are meant then,
	// and none when no Gateway is named: sidecars take no part in it, as in Istio.
	Targeted bool
	Gateways []string
}

// attaches reports whether an object of namespace is for a proxy of ns with these labels.
func (a *Attachment) attaches(namespace, ns string, labels map[string]string) bool {
	if a.Targeted {
		return namespace == ns && slices.Contains(a.Gateways, labels[GatewayNameLabel])
	}
	return LabelsMatch(a.Selector, labels)
}
