// Package snicluster is the network filter envoy.filters.network.sni_cluster: the TCP proxy behind it
// uses the cluster that is named as the client's SNI, as gateways of Istio's multi-network meshes do.
//
// It only leaves the name in the filter state. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/sni_cluster_filter
package snicluster

import (
	sniv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.sni_cluster"

// ParseConfig reads the configuration, which has no fields.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	return nil, d.ReadFilter(Name, a, &sniv3.SniCluster{}).Err()
}

type filter struct{}

// New makes the filter.
func New() networkfilter.Filter { return filter{} }

// OnNewConnection implements networkfilter.Filter.
func (filter) OnNewConnection(c *conn.Conn, _ *listener.Context) bool {
	if info := c.Info(); info.SNI != "" {
		info.State.Put(filterstate.TCPProxyCluster, filterstate.Text(info.SNI))
	}
	return true
}
