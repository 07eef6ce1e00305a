// Package setfilterstate is the network filter envoy.filters.network.set_filter_state: it leaves
// values computed from a connection in its filter state, such as the cluster for the TCP proxy.
//
// Package setstate does the work. Values of on_downstream_data are refused: no network filter of
// ours looks at data. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/set_filter_state
package setfilterstate

import (
	setv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	httpset "github.com/lateen-mesh/lateen/proxy/internal/httpfilter/setfilterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/setstate"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.set_filter_state"

// Config is a validated set_filter_state.v3.Config.
type Config struct{ new, handshake setstate.Setter }

// ParseConfig reads the configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &setv3.Config{}
	r := d.ReadFilter(Name, a, m)
	c := &Config{
		new:       httpset.Read(r, "on_new_connection", m.GetOnNewConnection()),
		handshake: httpset.Read(r, "on_downstream_tls_handshake", m.GetOnDownstreamTlsHandshake()),
	}
	return c, r.Err()
}

type filter struct{ *Config }

// New makes the filter.
func New(cfg any) networkfilter.Filter { return filter{cfg.(*Config)} }

// OnNewConnection implements networkfilter.Filter. A filter sees its connection after the handshake.
func (f filter) OnNewConnection(c *conn.Conn, _ *listener.Context) bool {
	info := c.Info()
	ctx := format.Context{Info: &streaminfo.Info{
		Downstream: info, ConnectionID: info.ID, Start: c.Loop().Now(), StartWall: c.Loop().WallNow(),
	}}
	f.new.Apply(&info.State, &ctx)
	if info.TLS != nil {
		f.handshake.Apply(&info.State, &ctx)
	}
	return true
}
