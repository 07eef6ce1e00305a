package listener

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/proxyprotocol"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// readProxyHeader takes the PROXY protocol's header off the connection's first bytes. False: it is
// not there yet, or the connection was closed.
func (s *served) readProxyHeader(cfg *config, eof bool) bool {
	pp := cfg.res.ProxyProtocol
	h, n, err := proxyprotocol.Parse(s.c.In().Bytes())
	if errors.Is(err, proxyprotocol.ErrMore) && !eof {
		return false
	}
	count := func(i int) { s.w.shard().Inc(cfg.proxied.Counter(i)) }
	ofVersion := func(i int) { count(i + (h.Version-1)*perVersion) }
	switch {
	case h.Version > 0 && pp.Disallowed[h.Version]:
		if !pp.AllowWithout {
			ofVersion(v1Disallowed)
			break
		}
		count(notFoundAllowed) // then it is whatever follows it here
		return true
	case err == nil:
		ofVersion(v1Found)
		s.believe(&h, pp.Rules)
		s.c.In().Drain(n)
		return true
	case h.Version > 0:
		ofVersion(v1Error)
	case pp.AllowWithout:
		count(notFoundAllowed)
		return true
	default:
		count(notFoundDisallowed)
	}
	s.w.shard().Inc(s.w.l.proxyErrors)
	s.c.Close(conn.CloseReset)
	return false
}

// believe makes the connection one from where its header says.
func (s *served) believe(h *proxyprotocol.Header, rules []xdsresource.TLVRule) {
	info := s.c.Info()
	if h.Source.IsValid() {
		info.RemoteAddr, info.LocalAddr = h.Source, h.Destination
	}
	for _, tlv := range h.TLVs {
		for _, r := range rules {
			if r.Type == tlv.Type {
				info.SetMetadata(r.Namespace, r.Key, text(tlv.Value))
			}
		}
	}
}

// text is a value as valid text: metadata is no place for bytes.
func text(v []byte) string {
	if utf8.Valid(v) {
		return string(v)
	}
	return strings.ToValidUTF8(string(v), "!")
}
