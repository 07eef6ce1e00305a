// Package methodstats counts calls of gRPC by service and method, below the statistics of the
// cluster that they go to: "cluster.web.grpc.shop.Cart.Add.success" and its like
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/grpc_stats_filter).
//
// The names come from clients, so there are bounds to how many are kept, which Envoy has not: what is
// beyond them is counted without service and method. Counters are made when first needed and kept
// beside the worker's view of the cluster.
//
// It looks at no request; filters say what to count. Only filters import it.
package methodstats
