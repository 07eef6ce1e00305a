// Package envoyfilter applies the patches of EnvoyFilters to what is made for a proxy, with Istio's semantics
// (https://istio.io/latest/docs/reference/config/networking/envoy-filter/).
//
// patches.go says which patches are for a proxy and in which order; listener.go, chain.go and httpfilter.go change listeners from the outside
// in, route.go route configurations, cluster.go clusters; merge.go merges, list.go inserts into lists.
//
// It is pure. What it is given it never changes: a resource that a patch is for is copied first, and all others are returned as they are. It
// reads no objects (snapshot does) and judges no result (the proxy does). Only translate imports it.
package envoyfilter
