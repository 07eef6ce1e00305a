package format

import "net/netip"

func upstreamHost(c *Context) string {
	if c.Info.Host == nil {
		return ""
	}
	return c.Info.Host.Name
}

func upstreamHostName(c *Context) string {
	if c.Info.Host == nil {
		return ""
	}
	if c.Info.Host.Hostname != "" {
		return c.Info.Host.Hostname
	}
	return c.Info.Host.Name
}

// upstreamCluster is the observability name where the cluster has one, as in Envoy.
func upstreamCluster(c *Context) string {
	if x := c.Info.Cluster; x != nil {
		if x.ObservabilityName != "" {
			return x.ObservabilityName
		}
		if x.AltStatName != "" {
			return x.AltStatName
		}
	}
	return c.Info.UpstreamCluster
}

// upstreamRemote is missing until there was a connection, unlike the host that was chosen.
func upstreamRemote(c *Context) netip.AddrPort {
	if c.Info.UpstreamRemote.IsValid() {
		return c.Info.UpstreamRemote
	}
	if c.Info.Host == nil || !c.Info.Host.Address.IP.IsValid() || !c.Info.UpstreamLocal.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(c.Info.Host.Address.IP, c.Info.Host.Address.Port)
}

// upstreamRemoteText is upstreamRemote, or the path of a Unix socket.
func upstreamRemoteText(c *Context) string {
	if a := upstreamRemote(c); a.IsValid() {
		return a.String()
	}
	if c.Info.Host != nil && c.Info.Host.Address.Pipe != "" {
		return c.Info.Host.Address.Pipe
	}
	return ""
}

func upstreamLocal(c *Context) netip.AddrPort { return c.Info.UpstreamLocal }

// downstreamLocal is where the client was going: the original destination of a redirected
// connection.
func downstreamLocal(c *Context) netip.AddrPort {
	d := c.Info.Downstream
	switch {
	case d == nil:
		return netip.AddrPort{}
	case d.OriginalDst.IsValid():
		return d.OriginalDst
	}
	return d.LocalAddr
}

func downstreamRemote(c *Context) netip.AddrPort { return c.Info.RemoteAddr() }

func downstreamDirect(c *Context) netip.AddrPort {
	if c.Info.Downstream == nil {
		return netip.AddrPort{}
	}
	if a := c.Info.Downstream.DirectRemoteAddr; a.IsValid() {
		return a
	}
	return c.Info.Downstream.RemoteAddr
}

// downstreamDirectLocal is our end of the connection itself.
func downstreamDirectLocal(c *Context) netip.AddrPort {
	if c.Info.Downstream == nil {
		return netip.AddrPort{}
	}
	return c.Info.Downstream.LocalAddr
}

func downstreamHandshake(c *Context) (from, to int64) {
	if d := c.Info.Downstream; d != nil {
		return d.Connected, d.HandshakeDone
	}
	return 0, 0
}

func serverName(c *Context) string {
	if c.Info.Downstream == nil {
		return ""
	}
	return c.Info.Downstream.SNI
}
