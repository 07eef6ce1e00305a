package router

import (
	"net/http"

	"github.com/lateen-mesh/lateen/proxy/internal/proxyprotocol"
)

// terminates reports whether a request's body goes to the host as bytes: the route has CONNECT end here.
func (r *router) terminates(method []byte) bool {
	t := r.forward.Terminate
	return t != nil && (string(method) == http.MethodConnect || t.Post && string(method) == http.MethodPost)
}

// rawHeader is the PROXY protocol's header that goes before such bytes; nil for none.
func (r *router) rawHeader() []byte {
	d := r.s.Info().Downstream
	switch {
	case d == nil:
	case r.forward.Terminate.ProxyHeader == 1:
		return proxyprotocol.Append1(nil, d.RemoteAddr, d.LocalAddr)
	case r.forward.Terminate.ProxyHeader == 2:
		b, _ := proxyprotocol.Append2(nil, d.RemoteAddr, d.LocalAddr, nil) // whole: there are no extensions to leave out
		return b
	}
	return nil
}
