package router

import (
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/connpool"
)

// track is what is measured of an attempt for clusters that ask for it (track_cluster_stats).
type track struct {
	open           bool
	answered       bool
	cutOff         bool
	began          int64
	sent, received uint64 // of bodies
	size, fields   uint64 // of the answer's head
}

// beginTrack begins to measure an attempt.
func (a *attempt) beginTrack() {
	a.track = track{open: a.r.local.Tracks(), began: a.r.loop.Now()}
}

// head measures the answer's head as it came.
func (t *track) head(req *connpool.Request) {
	if t.open {
		t.answered, t.size, t.fields = true, uint64(req.Response.Size()), uint64(req.Response.Len())
	}
}

// endTrack records an attempt, once.
func (a *attempt) endTrack() {
	r, t := a.r, &a.track
	if !t.open {
		return
	}
	t.open = false
	r.local.TrackAttempt(&cluster.Attempt{
		Took: uint64(r.loop.Now()-t.began) / 1e6, Budget: uint64(r.limits.perTry.Milliseconds()),
		Request:  cluster.Sizes{Headers: uint64(r.h.Size()), HeaderCount: uint64(r.h.Len()), Body: t.sent},
		Response: cluster.Sizes{Headers: t.size, HeaderCount: t.fields, Body: t.received}, Answered: t.answered, CutOff: t.cutOff,
	})
}

// trackRequest records how much of its time the request has used up. It begins to run with the
// request's end.
func (r *router) trackRequest() {
	if since := r.s.Info().RequestEnd; since != 0 {
		r.local.TrackRequest(uint64(max(0, r.loop.Now()-since))/1e6, uint64(r.limits.global.Milliseconds()))
	}
}
