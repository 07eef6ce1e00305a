package tcpproxy

import (
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/peermetadata"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Exchange is Istio's metadata exchange over TCP: where TLS has agreed on its protocol, each side
// begins its stream with a preamble that says who it is.
type Exchange struct {
	// Downstream is the ALPN name by which a client's proxy takes part; "": none does. What
	// upstream connections do is their cluster's to say.
	Downstream string
	// Preamble is ours; nil: this node has no metadata, and takes part in no exchange.
	Preamble []byte
}

// downstreamExchanges reports whether the client's proxy takes part.
func (s *session) downstreamExchanges() bool {
	e := &s.p.d.Exchange
	return e.Downstream != "" && e.Preamble != nil && s.down.Info().ALPN == e.Downstream
}

// upstreamExchanges reports whether the server's proxy takes part.
func (s *session) upstreamExchanges() bool {
	if s.p.d.Exchange.Preamble == nil {
		return false
	}
	for _, f := range s.local.Config().Filters {
		if x, ok := f.Config.(*xdsresource.TCPMetadataExchange); ok && s.up.Info().ALPN == x.Protocol {
			return true
		}
	}
	return false
}

// introduce begins the exchanges of a session whose upstream connection is open. Our preambles go
// out at once, before anything else: neither peer waits for the other.
func (s *session) introduce() {
	if s.readDown = s.downstreamExchanges(); s.readDown {
		s.down.Out().Append(s.p.d.Exchange.Preamble)
		s.down.FlushLater()
	}
	if s.readUp = s.upstreamExchanges(); s.readUp {
		s.up.Out().Append(s.p.d.Exchange.Preamble)
		s.up.FlushLater()
	}
	if !s.readDown && !s.readUp {
		s.opened()
	}
}

type peersKey struct{}

// peersOf is the worker's cache of peers that came in preambles.
func peersOf(l *eventloop.Loop) *peermetadata.Cache {
	if c, ok := l.Attached(peersKey{}).(*peermetadata.Cache); ok {
		return c
	}
	c := &peermetadata.Cache{}
	l.Attach(peersKey{}, c)
	return c
}

// opened counts the connection, once it is known as well as it will be who its peers are.
func (s *session) opened() {
	if s.meter != nil && !s.met {
		s.met = true
		s.meter.Opened()
	}
}

// meet takes the peer's preamble off the head of its stream. False: the rest of it is to come, or
// the session has ended. A stream that begins otherwise is the application's.
func (s *session) meet(c *conn.Conn, eof bool, reading *bool, peer **peermetadata.Peer) bool {
	n, body, err := peermetadata.TakePreamble(c.In().Bytes())
	switch {
	case err == peermetadata.ErrPreambleTooLarge:
		s.info.Set(streaminfo.DownstreamProtocolError)
		s.info.TerminationDetails = "peer_metadata_too_large"
		s.down.Close(conn.CloseReset)
		return false
	case err == nil && n == 0 && !eof:
		return false
	case n > 0:
		*peer = peersOf(s.loop).Preamble(body)
		c.In().Drain(n)
	}
	*reading = false
	if !s.readDown && !s.readUp {
		s.opened()
	}
	return true
}
