// Package directresponse is the terminal network filter envoy.filters.network.direct_response: it
// says the same to everybody and closes. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/direct_response_filter
package directresponse

import (
	directv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/direct_response/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.direct_response"

// Config is a validated direct_response.v3.Config.
type Config struct{ Response []byte }

// ParseConfig reads the configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &directv3.Config{}
	r := d.ReadFilter(Name, a, m)
	return &Config{r.DataSource("response", m.GetResponse())}, r.Err()
}

type handler struct{ cfg *Config }

// New makes the filter.
func New(cfg any) listener.NetworkHandler { return handler{cfg.(*Config)} }

// OnNewConnection implements listener.NetworkHandler.
func (h handler) OnNewConnection(c *conn.Conn, _ *listener.Context) {
	c.SetHandler(h)
	c.Out().Append(h.cfg.Response)
	// What the client sends is read and dropped until it has the answer: a reset would take that
	// away from it.
	c.Close(conn.CloseAfterFlush)
}

func (handler) OnData(c *conn.Conn, _ bool)   { c.In().Reset() }
func (handler) OnWritable(*conn.Conn)         {}
func (handler) OnClose(_ *conn.Conn, _ error) {}
