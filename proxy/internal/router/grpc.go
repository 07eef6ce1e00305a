package router

import (
	"net/http"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// result is what an answer's head says of its host. For gRPC the status in it counts, by what it stands for in HTTP. Mostly there is
// none yet, since it comes with the trailers: outlier detection then goes by the HTTP status, as in Envoy, and the host's own
// statistics wait for settle.
func (a *attempt) result(code int, h *header.Map, end bool) cluster.Result {
	out := cluster.Result{Kind: cluster.ResultResponse, Code: code, Degraded: h.Has(header.XEnvoyDegraded)}
	a.unsettled = false
	if !grpcstatus.Is(a.r.h.Value(header.ContentType)) {
		return out
	}
	if v, ok := h.Get(header.GRPCStatus); ok {
		out.Code = grpcHTTP(v)
	}
	if code >= http.StatusInternalServerError {
		return out
	}
	out.Unsettled = true
	if a.unsettled = !end; end {
		v, ok := h.Get(header.GRPCStatus)
		a.host.OnSettled(ok && grpcHTTP(v) < http.StatusInternalServerError)
	}
	return out
}

// settle counts how a call of gRPC ended; without trailers it has failed.
func (a *attempt) settle(t *header.Map) {
	if !a.unsettled {
		return
	}
	a.unsettled = false
	good := false
	if t != nil {
		if v, ok := t.Get(header.GRPCStatus); ok {
			good = grpcHTTP(v) < http.StatusInternalServerError
		}
	}
	a.host.OnSettled(good)
}

func grpcHTTP(v []byte) int {
	if s, ok := grpcstatus.Parse(v); ok {
		return s.HTTP()
	}
	return http.StatusInternalServerError
}
