package hcm

import (
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// Steps are a direction's calls, each with the position of its filter in that direction.
type (
	headerStep struct {
		at   int
		call func(httpfilter.Stream, *header.Map, bool) httpfilter.Status
	}
	dataStep struct {
		at   int
		call func(httpfilter.Stream, *httpfilter.Data, bool) httpfilter.Status
	}
	trailerStep struct {
		at   int
		call func(httpfilter.Stream, *header.Map) httpfilter.Status
	}
)

// sink is what a direction ends in: the terminal filter, or the response's encoder.
type sink interface {
	sinkHeaders(h *header.Map, end bool)
	sinkData(p []byte, end bool)
	sinkTrailers(t *header.Map)
	// overflow is told that a filter wanted to buffer more than the limit.
	overflow()
	// hold and unhold ask the source to stop and to go on.
	hold()
	unhold()
}

// direction is one side of a stream on its way through the filters. The steps are made once
// per stream object; the rest is reset for each stream.
type direction struct {
	s        *stream
	to       sink
	headers  []headerStep
	data     []dataStep
	trailers []trailerStep

	h         *header.Map
	t         *header.Map
	end       bool // at the headers
	next      int  // index into headers of the next step
	passed    bool // the headers have reached the sink
	status    httpfilter.Status
	at        int // position of the filter that stopped
	from      int // first position that what is held goes to
	held      iobuf.Buffer
	heldEnd   bool
	heldTrail bool
	holding   bool
	piece     httpfilter.Data
	dead      bool // nothing passes any more
}

func (d *direction) reset() {
	d.h, d.t, d.end, d.next, d.passed = nil, nil, false, 0, false
	d.status, d.at, d.from = httpfilter.Continue, 0, 0
	d.held.Reset()
	d.heldEnd, d.heldTrail, d.holding, d.dead = false, false, false, false
	d.piece.Bytes = nil
}

func (d *direction) start(h *header.Map, end bool) {
	d.h, d.end = h, end
	d.runHeaders()
}

func (d *direction) runHeaders() {
	for d.next < len(d.headers) {
		st := &d.headers[d.next]
		d.next++
		status := st.call(d.s, d.h, d.end)
		if d.dead {
			return
		}
		if status != httpfilter.Continue {
			d.stop(status, st.at, st.at)
			return
		}
	}
	d.passed = true
	d.to.sinkHeaders(d.h, d.end)
}

// stop notes who stopped, and where what arrives meanwhile goes first.
func (d *direction) stop(s httpfilter.Status, at, from int) {
	d.status, d.at, d.from = s, at, from
}

// body takes a piece of body from the source.
func (d *direction) body(p []byte, end bool) {
	if !d.dead {
		d.passData(0, p, end)
	}
}

// passData runs a piece through the filters from a position on, as far as the one that has
// stopped; there it is held. So filters before that one see the body as it comes.
func (d *direction) passData(from int, p []byte, end bool) {
	d.piece.Bytes = p
	for i := range d.data {
		st := &d.data[i]
		if st.at < from {
			continue
		}
		if d.status != httpfilter.Continue && st.at >= d.at {
			break
		}
		status := st.call(d.s, &d.piece, end)
		if d.dead {
			return
		}
		if status != httpfilter.Continue {
			d.stop(status, st.at, st.at+1)
			d.keep(d.piece.Bytes, end)
			return
		}
	}
	if d.status == httpfilter.Continue {
		d.to.sinkData(d.piece.Bytes, end)
		d.piece.Bytes = nil
		return
	}
	d.keep(d.piece.Bytes, end)
	if d.status == httpfilter.Buffer {
		d.offer()
	}
}

// keep holds a piece for later.
func (d *direction) keep(p []byte, end bool) {
	d.held.Append(p)
	d.heldEnd = d.heldEnd || end
	if d.held.Len() <= d.s.limit() {
		return
	}
	if d.status == httpfilter.Buffer {
		d.to.overflow()
	} else if !d.holding {
		d.holding = true
		d.to.hold()
	}
}

// offer shows a buffering filter all of the body so far.
func (d *direction) offer() {
	if d.dead {
		return
	}
	for i := range d.data {
		st := &d.data[i]
		if st.at != d.at {
			continue
		}
		d.piece.Bytes = d.held.Bytes()
		status := st.call(d.s, &d.piece, d.heldEnd)
		if d.dead {
			return
		}
		d.from = d.at + 1
		if len(d.piece.Bytes) != d.held.Len() || len(d.piece.Bytes) > 0 && &d.piece.Bytes[0] != &d.held.Bytes()[0] {
			replaced := append([]byte(nil), d.piece.Bytes...)
			d.held.Reset()
			d.held.Append(replaced)
		}
		if d.status = status; status == httpfilter.Continue {
			d.resume()
		}
		return
	}
}

// trailersIn takes the trailers from the source.
func (d *direction) trailersIn(t *header.Map) {
	if d.dead {
		return
	}
	d.t = t
	if d.status != httpfilter.Continue {
		d.heldTrail = true
		return
	}
	d.passTrailers(0)
}

func (d *direction) passTrailers(from int) {
	for i := range d.trailers {
		st := &d.trailers[i]
		if st.at < from {
			continue
		}
		status := st.call(d.s, d.t)
		if d.dead {
			return
		}
		if status != httpfilter.Continue {
			d.stop(status, st.at, st.at+1)
			d.heldTrail = true
			return
		}
	}
	d.to.sinkTrailers(d.t)
}

// proceed goes on after a stop: ContinueRequest and ContinueResponse.
func (d *direction) proceed() {
	if d.dead || d.status == httpfilter.Continue {
		return
	}
	d.status = httpfilter.Continue
	d.resume()
}

// resume passes on what was held: headers, then body, then trailers. Any of them may be
// stopped again by a later filter.
func (d *direction) resume() {
	from := d.from
	if !d.passed {
		if d.runHeaders(); d.dead {
			return
		}
	}
	if d.held.Len() > 0 || d.heldEnd {
		var all iobuf.Buffer
		all.Init(d.s.w.loop.Buffers())
		all.Move(&d.held)
		end := d.heldEnd
		d.heldEnd = false
		d.passData(from, all.Bytes(), end)
		all.Reset()
		if d.dead || d.status != httpfilter.Continue {
			return
		}
	}
	if d.status != httpfilter.Continue {
		return
	}
	if d.heldTrail {
		d.heldTrail = false
		if d.passTrailers(from); d.dead || d.status != httpfilter.Continue {
			return
		}
	}
	if d.holding {
		d.holding = false
		d.to.unhold()
	}
}

// addRequest appends a filter's steps. at is its position in this direction.
func (d *direction) addRequest(f httpfilter.Filter, at int) {
	if x, ok := f.(httpfilter.RequestHeaders); ok {
		d.headers = append(d.headers, headerStep{at, x.OnRequestHeaders})
	}
	if x, ok := f.(httpfilter.RequestData); ok {
		d.data = append(d.data, dataStep{at, x.OnRequestData})
	}
	if x, ok := f.(httpfilter.RequestTrailers); ok {
		d.trailers = append(d.trailers, trailerStep{at, x.OnRequestTrailers})
	}
}

// addResponse is addRequest for the response.
func (d *direction) addResponse(f httpfilter.Filter, at int) {
	if x, ok := f.(httpfilter.ResponseHeaders); ok {
		d.headers = append(d.headers, headerStep{at, x.OnResponseHeaders})
	}
	if x, ok := f.(httpfilter.ResponseData); ok {
		d.data = append(d.data, dataStep{at, x.OnResponseData})
	}
	if x, ok := f.(httpfilter.ResponseTrailers); ok {
		d.trailers = append(d.trailers, trailerStep{at, x.OnResponseTrailers})
	}
}
