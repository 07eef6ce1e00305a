package router

import (
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
)

// wish says what the request wants of its connection: the names and protocols of TLS that filters have left in the filter state, or else
// what the request's host makes of them; and for the PROXY protocol, who its client is.
func (a *attempt) wish(t *transportsocket.Upstream) {
	r := a.r
	w, info := &a.req.Wish, r.s.Info()
	*w = transportsocket.Wish{}
	if t.TLS != nil {
		w.ServerName = filterstate.String(info.FilterState(filterstate.UpstreamServerName))
		w.Names = filterstate.String(info.FilterState(filterstate.UpstreamSubjectAltNames))
		w.ALPN = filterstate.String(info.FilterState(filterstate.ApplicationProtocols))
		if up := r.upstream(); up.AutoSNI || up.AutoSANValidation {
			r.rewriteHost(a.host) // it is the host that is sent
			name := r.h.Value(header.Authority)
			if up.SNIHeader.Name != "" {
				if v, _ := r.h.GetKey(up.SNIHeader); len(v) > 0 {
					name = v
				}
			}
			w.NameHost(string(name), up.AutoSNI, up.AutoSANValidation)
		}
	}
	if d := info.Downstream; t.Proxy != nil && d != nil {
		w.Client, a.req.TLVs = t.ClientOf(d.RemoteAddr, d.LocalAddr, d.ProxyTLVs), d.ProxyTLVs
	}
}
