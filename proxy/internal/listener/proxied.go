package listener

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
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
		if pp.AllowWithout {
			count(notFoundAllowed) // then it is whatever follows it here
			return true
		}
		ofVersion(v1Found) // as in Envoy: found, and no error
		ofVersion(v1Disallowed)
		s.c.Close(conn.CloseReset)
		return false
	case err == nil:
		ofVersion(v1Found)
		s.believe(&h, pp)
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
	s.w.shard().Inc(cfg.proxyErrors)
	s.c.Close(conn.CloseReset)
	return false
}

// believe makes the connection one from where its header says.
func (s *served) believe(h *proxyprotocol.Header, cfg *xdsresource.ProxyProtocol) {
	info := s.c.Info()
	if h.Source.IsValid() {
		info.RemoteAddr, info.LocalAddr = h.Source, h.Destination
	}
	info.ProxyTLVs = []proxyprotocol.TLV{}
	state := filterstate.Fields{}
	for _, tlv := range h.TLVs {
		if cfg.Pass.Passes(tlv.Type) {
			info.ProxyTLVs = append(info.ProxyTLVs, proxyprotocol.TLV{Type: tlv.Type, Value: bytes.Clone(tlv.Value)})
		}
		for i := range cfg.Rules {
			switch r := &cfg.Rules[i]; {
			case r.Type != tlv.Type:
			case cfg.ToFilterState:
				state[r.Key] = text(r, tlv.Value)
			default:
				info.SetMetadata(r.Namespace, r.Key, text(r, tlv.Value))
			}
		}
	}
	if len(state) > 0 {
		info.State.Put(filterstate.ProxyProtocolTLVs, state)
	}
}

// text is a value as valid text: metadata is no place for bytes.
func text(r *xdsresource.TLVRule, v []byte) string {
	switch {
	case r.Base64:
		return base64.StdEncoding.EncodeToString(v)
	case utf8.Valid(v):
		return string(v)
	}
	return strings.ToValidUTF8(string(v), "!")
}
