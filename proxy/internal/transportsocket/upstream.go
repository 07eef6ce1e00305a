package transportsocket

import (
	"context"
	"net"
	"net/netip"
	"slices"

	"github.com/lateen-mesh/lateen/proxy/internal/proxyprotocol"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Upstream is what connections to a host begin with: a header of the PROXY protocol, then TLS; either may be missing. All workers
// share it.
type Upstream struct {
	TLS   *Client                  // nil: plain text
	Proxy *xdsresource.ProxyHeader // nil: no header
}

// NewUpstream makes a transport; see NewClient.
func NewUpstream(cfg *xdsresource.UpstreamTransport, p SecretProvider) (*Upstream, error) {
	u := &Upstream{Proxy: cfg.Proxy}
	if cfg.TLS != nil {
		var err error
		if u.TLS, err = NewClient(cfg.TLS, p); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// Close ends the SDS subscriptions. Live connections go on.
func (u *Upstream) Close() {
	if u.TLS != nil {
		u.TLS.Close()
	}
}

// Wish is what a request or TCP connection wants of the transport of its connection to a host, over what is configured. Only those that
// wish for the same share a connection. The zero value wants nothing.
type Wish struct {
	ServerName string // of TLS; "": as configured
	Names      string // one of which the host's certificate must have, joined by commas; "": any
	ALPN       string // protocols to offer, joined by commas; "": as configured
	// Client is whom the connection stands for; only the PROXY protocol tells of it.
	Client ClientEnds
}

// Nothing reports whether w is the zero value. It is quicker than to compare all of it.
func (w *Wish) Nothing() bool {
	return w.ServerName == "" && w.Names == "" && w.ALPN == "" && !w.Client.Known
}

// NameHost has TLS name the host of a request (auto_sni), and its certificate be for it (auto_san_validation), where nothing else was
// wished for. An address is no server name.
func (w *Wish) NameHost(authority string, sni, san bool) {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		authority = host
	}
	if _, err := netip.ParseAddr(authority); sni && w.ServerName == "" && err != nil {
		w.ServerName = authority
	}
	if san && w.Names == "" {
		w.Names = authority
	}
}

// ClientEnds are the two ends of a client's connection. Addresses are invalid where it did not come over IP.
type ClientEnds struct {
	Known               bool
	Source, Destination netip.AddrPort
	// TLVs are its extensions in the form of the header, where they make a difference to who shares a connection.
	TLVs string
}

// ClientOf says whom a connection stands for.
func (u *Upstream) ClientOf(remote, local netip.AddrPort, tlvs []proxyprotocol.TLV) ClientEnds {
	c := ClientEnds{Known: true, Source: remote, Destination: local}
	if u.Proxy.KeyByTLVs && len(tlvs) > 0 {
		b, _ := proxyprotocol.Append2(nil, netip.AddrPort{}, netip.AddrPort{}, tlvs)
		c.TLVs = string(b)
	}
	return c
}

// Complete adds what the configuration has a host's own name do. hostname is the host's, "" when it has none.
func (u *Upstream) Complete(w *Wish, hostname string) {
	if u.TLS == nil {
		return
	}
	cfg := &u.TLS.cfg
	if cfg.AutoHostSNI && w.ServerName == "" && hostname != "" {
		w.NameHost(hostname, true, false)
	}
	if cfg.AutoSNISAN && w.Names == "" {
		if w.Names = w.ServerName; w.Names == "" {
			w.Names = cfg.SNI
		}
	}
}

// Header returns what makes the PROXY protocol's header of a new connection, of its own ends; nil when there is none. client are the
// extensions of the client's own header, and host those of the host. lost is called when some do not fit.
func (u *Upstream) Header(w *Wish, client, host []proxyprotocol.TLV, lost func()) func(local, remote netip.AddrPort) []byte {
	if u.Proxy == nil {
		return nil
	}
	ends := w.Client
	return func(local, remote netip.AddrPort) []byte {
		switch {
		case u.Proxy.Version == 1 && !ends.Known: // as in Envoy: we speak for ourselves, which this version cannot say
			return proxyprotocol.Append1(nil, local, remote)
		case u.Proxy.Version == 1:
			return proxyprotocol.Append1(nil, ends.Source, ends.Destination)
		case !ends.Known, !ends.Source.IsValid(): // of a Unix socket: many receivers take no PROXY without addresses
			return proxyprotocol.AppendLocal(nil)
		}
		b, whole := proxyprotocol.Append2(nil, ends.Source, ends.Destination, u.tlvs(client, host))
		if !whole {
			lost()
		}
		return b
	}
}

// tlvs are the extensions that a host gets: its own, those of the configuration, and those of the client's header; of a type only the
// first of these sources that has any.
func (u *Upstream) tlvs(client, host []proxyprotocol.TLV) []proxyprotocol.TLV {
	out := slices.Clone(host)
	add := func(from []proxyprotocol.TLV, passes func(byte) bool) {
		have := out
		for _, t := range from {
			if passes(t.Type) && !slices.ContainsFunc(have, func(x proxyprotocol.TLV) bool { return x.Type == t.Type }) {
				out = append(out, t)
			}
		}
	}
	add(u.Proxy.Added, func(byte) bool { return true })
	add(client, u.Proxy.Pass.Passes)
	return out
}

// Secure begins a connection of the standard library, for health checks, which run beside the loops: a header that speaks for ourselves,
// then TLS. protocols replace the ALPN of the configuration unless they are empty.
func (u *Upstream) Secure(ctx context.Context, nc net.Conn, protocols []string) (net.Conn, error) {
	if header := u.Header(&Wish{}, nil, nil, nil); header != nil {
		local, _ := nc.LocalAddr().(*net.TCPAddr)
		remote, _ := nc.RemoteAddr().(*net.TCPAddr)
		if deadline, ok := ctx.Deadline(); ok {
			_ = nc.SetWriteDeadline(deadline)
		}
		if _, err := nc.Write(header(local.AddrPort(), remote.AddrPort())); err != nil {
			return nil, err
		}
	}
	if u.TLS == nil {
		return nc, nil
	}
	tc, err := u.TLS.secure(ctx, nc, protocols)
	if err != nil {
		return nil, err // and no *tls.Conn within a net.Conn
	}
	return tc, nil
}
