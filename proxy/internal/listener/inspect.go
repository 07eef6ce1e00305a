package listener

import "github.com/lateen-mesh/lateen/proxy/internal/conn"

// looksFor says what the bytes to a port are inspected for: a ClientHello, a request.
func (c *config) looksFor(port uint16) (hello, request bool) {
	return c.inspect && !c.res.TLSInspectorOff.Has(port), c.sniff && !c.res.HTTPInspectorOff.Has(port)
}

// maxHello is how many bytes a ClientHello may have.
func (c *config) maxHello() int {
	if n := c.res.MaxHello; n > 0 {
		return int(n)
	}
	return maxHello
}

// inspect looks at the bytes that have come; they stay in the connection's buffer, for the
// TLS handshake or the handler.
func (s *served) inspect(eof bool) {
	cfg := s.w.l.config.Load()
	if !s.proxied && cfg.res.ProxyProtocol != nil {
		if s.proxied = s.readProxyHeader(cfg, eof); !s.proxied {
			return
		}
	}
	b := s.c.In().Bytes()
	info := s.c.Info()
	hello, http := cfg.looksFor(destination(info).Port())
	if hello && info.TransportProtocol == "" {
		h, v := parseHello(b, cfg.maxHello())
		switch {
		case v == needMore && !eof:
			return
		case v == isTLS:
			s.foundTLS(info, h)
			cfg.fingerprint(info, b)
		case v == badTLS && len(b) > cfg.maxHello():
			s.w.inspected(helloTooLarge)
			s.c.Close(conn.CloseReset)
			return
		default: // not TLS, or too broken to say more: left to the chain that matches
			s.w.inspected(tlsNotFound)
			if cfg.res.CloseWithoutHello {
				s.c.Close(conn.CloseReset)
				return
			}
			info.TransportProtocol = "raw_buffer"
		}
	}
	if http && info.TransportProtocol != "tls" {
		proto, more := sniffHTTP(b)
		if more && !eof {
			return
		}
		if proto != "" {
			info.OfferedALPN = []string{proto}
		}
	}
	if eof && len(b) == 0 {
		s.w.inspected(inspectClosed)
		s.w.inc(filterRemoteClose)
		s.c.Close(conn.CloseNow)
		return
	}
	s.choose(cfg)
}

// fingerprint notes what the ClientHello says of the client, as the inspector is configured.
func (c *config) fingerprint(info *conn.Info, b []byte) {
	if !c.res.JA3 && !c.res.JA4 {
		return
	}
	o, ok := offerOf(b)
	if !ok {
		return
	}
	if c.res.JA3 {
		info.JA3 = o.ja3()
	}
	if c.res.JA4 {
		info.JA4 = o.ja4()
	}
}

func (s *served) foundTLS(info *conn.Info, h hello) {
	info.TransportProtocol = "tls"
	info.SNI, info.OfferedALPN = h.sni, h.alpn
	s.w.inspected(tlsFound)
	found := func(ok bool, yes, no int) {
		if ok {
			s.w.inspected(yes)
		} else {
			s.w.inspected(no)
		}
	}
	found(h.sni != "", sniFound, sniNotFound)
	found(len(h.alpn) > 0, alpnFound, alpnNotFound)
}

// onTimeout: the first bytes did not come in time. Servers that speak first need the
// connection to go on as what it seems to be.
func (s *served) onTimeout() {
	if !s.inspecting {
		return
	}
	s.w.inc(preCxTimeout)
	cfg := s.w.l.config.Load()
	if !cfg.res.ContinueOnListenerFiltersTimeout {
		s.c.Close(conn.CloseNow)
		return
	}
	s.choose(cfg)
}
