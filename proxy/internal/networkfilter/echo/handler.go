// Package echo is the terminal network filter envoy.filters.network.echo: it sends back what it gets.
// Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/echo_filter
package echo

import (
	echov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/echo/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.echo"

// ParseConfig reads the configuration, which has no fields.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	return nil, d.ReadFilter(Name, a, &echov3.Echo{}).Err()
}

type handler struct{}

// New makes the filter.
func New() listener.NetworkHandler { return handler{} }

// OnNewConnection implements listener.NetworkHandler.
func (h handler) OnNewConnection(c *conn.Conn, _ *listener.Context) { c.SetHandler(h) }

// OnData implements conn.Handler. A client that sends and does not read is not read either.
func (handler) OnData(c *conn.Conn, eof bool) {
	c.Out().Move(c.In())
	if eof {
		c.Close(conn.CloseFlushed)
		return
	}
	c.Flush()
	if c.AboveHighWatermark() {
		c.PauseRead()
	}
}

// OnWritable implements conn.Handler.
func (handler) OnWritable(c *conn.Conn) { c.ResumeRead() }

// OnClose implements conn.Handler.
func (handler) OnClose(*conn.Conn, error) {}
