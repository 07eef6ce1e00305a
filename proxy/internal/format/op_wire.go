package format

import (
	"net/netip"
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/bytemeter"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// wireOperators are the bytes that a stream costs on the wire, on each side.
func wireOperators() map[string]*valueOp {
	out := map[string]*valueOp{}
	for side, of := range map[string]func(*Context) *bytemeter.Meter{
		"DOWNSTREAM_": func(c *Context) *bytemeter.Meter { return &c.Info.DownstreamMeter },
		"UPSTREAM_":   func(c *Context) *bytemeter.Meter { return &c.Info.UpstreamMeter },
	} {
		out[side+"WIRE_BYTES_RECEIVED"] = count(func(c *Context) uint64 { return of(c).Received })
		out[side+"WIRE_BYTES_SENT"] = count(func(c *Context) uint64 { return of(c).Sent })
		out[side+"HEADER_BYTES_RECEIVED"] = count(func(c *Context) uint64 { return of(c).HeaderReceived })
		out[side+"HEADER_BYTES_SENT"] = count(func(c *Context) uint64 { return of(c).HeaderSent })
		out[side+"DECOMPRESSED_HEADER_BYTES_RECEIVED"] = count(func(c *Context) uint64 { return of(c).PlainReceived })
		out[side+"DECOMPRESSED_HEADER_BYTES_SENT"] = count(func(c *Context) uint64 { return of(c).PlainSent })
	}
	return out
}

// ofConnection prints something of the connection of the client.
func ofConnection(f func(*conn.Info) string) *valueOp {
	return text(func(c *Context) string {
		if c.Info.Downstream == nil {
			return ""
		}
		return f(c.Info.Downstream)
	})
}

// roundTrip is what the kernel has measured on the client's connection, in milliseconds.
func roundTrip(dst []byte, c *Context) ([]byte, bool) {
	if c.Info == nil || c.Info.Downstream == nil {
		return dst, false
	}
	d, ok := c.Info.Downstream.RoundTrip()
	if !ok {
		return dst, false
	}
	return strconv.AppendInt(dst, d.Milliseconds(), 10), true
}

// upstreamClose is missing for a request that no host was chosen for.
func upstreamClose(c *Context) string {
	if c.Info.Host == nil && c.Info.Protocol != streaminfo.None {
		return ""
	}
	return c.Info.UpstreamClose.String()
}

// endpointID is empty for every address that there is.
func endpointID(f func(*Context) netip.AddrPort) *valueOp {
	return &valueOp{f: func(dst []byte, c *Context) ([]byte, bool) { return dst, c.Info != nil && f(c).IsValid() }}
}

// routeTime is missing where the connection manager does not measure it.
func routeTime(dst []byte, c *Context) ([]byte, bool) {
	if c.Info == nil || c.Info.RouteTime == 0 {
		return dst, false
	}
	return strconv.AppendInt(dst, c.Info.RouteTime.Microseconds(), 10), true
}
