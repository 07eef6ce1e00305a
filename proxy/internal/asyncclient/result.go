package asyncclient

import (
	"net/http"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/connpool"
	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// This file is what is noted of hosts and attempts, as the router notes it.

// result is what an answer's head says of its host. Of gRPC the status counts, where the head has
// one; mostly it comes with the trailers, and settle follows.
func (x *exchange) result(code int, h *header.Map) cluster.Result {
	out := cluster.Result{Kind: cluster.ResultResponse, Code: code, Degraded: h.Has(header.XEnvoyDegraded)}
	if !x.grpc {
		return out
	}
	if v, ok := h.Get(header.GRPCStatus); ok {
		out.Code = grpcHTTP(v)
	}
	x.unsettled = code < http.StatusInternalServerError
	out.Unsettled = x.unsettled
	return out
}

// settle counts how a call of gRPC ended; without a status it has failed.
func (x *exchange) settle() {
	if !x.unsettled {
		return
	}
	x.unsettled = false
	v, ok := x.req.Trailers.Get(header.GRPCStatus)
	if !ok {
		v, ok = x.req.Response.Get(header.GRPCStatus)
	}
	x.host.OnSettled(ok && grpcHTTP(v) < http.StatusInternalServerError)
}

func grpcHTTP(v []byte) int {
	if s, ok := grpcstatus.Parse(v); ok {
		return s.HTTP()
	}
	return http.StatusInternalServerError
}

// track is what is measured of an attempt for clusters that ask for it (track_cluster_stats).
type track struct {
	open, answered, cutOff bool
	began                  int64
	received, size, fields uint64
}

func (x *exchange) beginTrack() { x.track = track{open: x.local.Tracks(), began: x.c.loop.Now()} }

// head measures the answer's head as it came.
func (t *track) head(req *connpool.Request) {
	if t.open {
		t.answered, t.size, t.fields = true, uint64(req.Response.Size()), uint64(req.Response.Len())
	}
}

// endTrack records an attempt, once.
func (x *exchange) endTrack() {
	t := &x.track
	if !t.open {
		return
	}
	t.open = false
	h := x.in.Headers
	x.local.TrackAttempt(&cluster.Attempt{
		Took: uint64(x.c.loop.Now()-t.began) / 1e6, Budget: uint64(x.perTry.Milliseconds()),
		Request:  cluster.Sizes{Headers: uint64(h.Size()), HeaderCount: uint64(h.Len()), Body: uint64(len(x.in.Body))},
		Response: cluster.Sizes{Headers: t.size, HeaderCount: t.fields, Body: t.received}, Answered: t.answered, CutOff: t.cutOff,
	})
}

// trackCall records how much of its time the call has used up.
func (x *exchange) trackCall() {
	x.local.TrackRequest(uint64(max(0, x.c.loop.Now()-x.asked))/1e6, uint64(x.in.Timeout.Milliseconds()))
}
