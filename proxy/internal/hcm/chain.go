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
		seat *seat
		call func(httpfilter.Stream, *header.Map, bool) httpfilter.Status
	}
	dataStep struct {
		at   int
		seat *seat
		call func(httpfilter.Stream, *httpfilter.Data, bool) httpfilter.Status
	}
	trailerStep struct {
		at   int
		seat *seat
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

// direction is one side of a stream on its way through the filters. Each position has a gate;
// a filter that stops shuts its own, and what comes is held there. So several filters may have
// stopped, each with what is between it and the one before. The steps are made once per stream
// object; the rest is reset for each stream.
type direction struct {
	s        *stream
	to       sink
	headers  []headerStep
	data     []dataStep
	trailers []trailerStep
	gates    []gate // by position

	h       *header.Map
	t       *header.Map
	end     bool // at the headers
	next    int  // index into headers of the next step
	passed  bool // the headers have reached the sink
	shut    int  // gates that are shut
	holding bool // the source was asked to stop
	past    bool // no filter is asked
	added   bool // the filter that runs has added trailers
	gave    bool // a filter has injected before its headers went on
	piece   httpfilter.Data
	most    int // bytes that a gate may hold; 0: the connection's buffer limit
	// gen changes when the stream ends or begins anew: a call that has caused that finds the
	// direction another than it was.
	gen  uint32
	dead bool // nothing passes any more
}

// gate is the place behind a filter's methods.
type gate struct {
	status httpfilter.Status // Continue: open
	*held                    // nil until something was held here
}

// held is what waits at a gate: seen is what the filter was called with or has made itself, and
// goes to the next filter; rest has arrived since and is shown to the filter first.
type held struct {
	seen, rest     iobuf.Buffer
	seenEnd, atEnd bool // the last piece is in seen, in rest
	trail          bool // trailers wait
	seenTrail      bool // which the filter has been called with
}

func (d *direction) reset() {
	d.h, d.t, d.end, d.next, d.passed = nil, nil, false, 0, false
	for i := range d.gates {
		g := &d.gates[i]
		g.status = httpfilter.Continue
		if h := g.held; h != nil {
			h.seen.Reset()
			h.rest.Reset()
			h.seenEnd, h.atEnd, h.trail, h.seenTrail = false, false, false, false
		}
	}
	d.shut, d.holding, d.past, d.added, d.gave, d.dead, d.most = 0, false, false, false, false, false, 0
	d.piece.Bytes = nil
	d.gen++
}

// kill lets nothing pass any more.
func (d *direction) kill() {
	d.dead = true
	d.gen++
}

// skip lets what comes go past the filters.
func (d *direction) skip() { d.next, d.past = len(d.headers), true }

func (d *direction) start(h *header.Map, end bool) {
	d.h, d.end = h, end
	d.runHeaders()
}

// runHeaders passes the headers on, and then what filters have injected behind them. False: the
// stream has ended or begun anew.
func (d *direction) runHeaders() bool {
	gen := d.gen
	for d.next < len(d.headers) {
		st := &d.headers[d.next]
		d.next++
		if st.seat.off() {
			continue
		}
		status := st.call(st.seat, d.h, d.end)
		if d.gen != gen {
			return false
		}
		if d.added {
			d.added, d.end, d.gave = false, false, true
			g := d.gate(st.at)
			g.seenEnd, g.trail, g.seenTrail = false, true, true
		}
		if status != httpfilter.Continue {
			d.stop(st.at, status)
			return d.flushGiven(st.at)
		}
	}
	d.passed = true
	d.to.sinkHeaders(d.h, d.end)
	return d.gen == gen && d.flushGiven(len(d.gates))
}

// flushGiven passes on what filters before a position have injected while they had the headers.
func (d *direction) flushGiven(before int) bool {
	if !d.gave {
		return true
	}
	d.gave = false
	for at := range before {
		if d.gates[at].held != nil && d.gates[at].status == httpfilter.Continue && !d.release(at) {
			return false
		}
	}
	return true
}

// gate returns a position's gate with room to hold something.
func (d *direction) gate(at int) *gate {
	g := &d.gates[at]
	if g.held == nil {
		g.held = &held{}
		g.seen.Init(d.s.w.loop.Buffers())
		g.rest.Init(d.s.w.loop.Buffers())
	}
	return g
}

// stop shuts a gate.
func (d *direction) stop(at int, s httpfilter.Status) {
	g := d.gate(at)
	if g.status == httpfilter.Continue {
		d.shut++
	}
	g.status = s
}

// open opens it.
func (d *direction) open(at int) {
	if d.gates[at].status != httpfilter.Continue {
		d.gates[at].status = httpfilter.Continue
		d.shut--
	}
}

// shutIn returns the first shut gate in [from, to), -1 when there is none.
func (d *direction) shutIn(from, to int) int {
	if d.shut > 0 {
		for at := from; at < to; at++ {
			if d.gates[at].status != httpfilter.Continue {
				return at
			}
		}
	}
	return -1
}

// body takes a piece of body from the source.
func (d *direction) body(p []byte, end bool) {
	switch {
	case d.dead:
	case d.past:
		d.to.sinkData(p, end)
	default:
		d.pass(0, p, end)
	}
}

// pass runs a piece through the filters from a position on, as far as the first shut gate, where
// it is held.
func (d *direction) pass(from int, p []byte, end bool) {
	gen := d.gen
	trailers := -1 // position behind a filter that has added some
	for i := range d.data {
		st := &d.data[i]
		if st.at < from {
			continue
		}
		if at := d.shutIn(from, st.at+1); at >= 0 {
			d.hold(at, p, end, trailers >= 0)
			return
		}
		from = st.at + 1
		if st.seat.off() {
			continue
		}
		d.piece.Bytes = p
		status := st.call(st.seat, &d.piece, end)
		if d.gen != gen {
			return
		}
		p = d.piece.Bytes
		if d.added {
			d.added, end, trailers = false, false, from
		}
		if status != httpfilter.Continue {
			d.stop(st.at, status)
			g := &d.gates[st.at]
			g.seen.Append(p)
			g.seenEnd = g.seenEnd || end
			g.trail, g.seenTrail = g.trail || trailers >= 0, g.seenTrail || trailers >= 0
			d.watch(g)
			return
		}
	}
	if at := d.shutIn(from, len(d.gates)); at >= 0 {
		d.hold(at, p, end, trailers >= 0)
		return
	}
	d.piece.Bytes = nil
	d.to.sinkData(p, end)
	if trailers >= 0 && d.gen == gen {
		d.passTrailers(trailers)
	}
}

// hold keeps a piece at a shut gate.
func (d *direction) hold(at int, p []byte, end, trailers bool) {
	g := d.gate(at)
	g.trail = g.trail || trailers
	if g.status == httpfilter.Buffer {
		g.seen.Append(p)
		g.seenEnd = g.seenEnd || end
		gen := d.gen
		if d.watch(g); d.gen == gen {
			d.offer(at, end || trailers)
		}
		return
	}
	g.rest.Append(p)
	g.atEnd = g.atEnd || end
	d.watch(g)
}

// watch stops the source, or the stream, when a gate holds more than the limit.
func (d *direction) watch(g *gate) {
	if g.seen.Len()+g.rest.Len() <= d.limit() {
		return
	}
	if g.status == httpfilter.Buffer {
		d.to.overflow()
	} else if !d.holding {
		d.holding = true
		d.to.hold()
	}
}

func (d *direction) limit() int {
	if d.most > 0 {
		return d.most
	}
	return d.s.limit()
}

// offer shows a buffering filter all of the body so far. Its gate is open meanwhile, so that it
// cannot go on twice.
func (d *direction) offer(at int, whole bool) {
	g := &d.gates[at]
	gen := d.gen
	d.open(at)
	status := httpfilter.Continue // a filter without data method has nothing to wait for but the end
	if !whole {
		status = httpfilter.Buffer
	}
	for i := range d.data {
		st := &d.data[i]
		if st.at != at {
			continue
		}
		body := g.seen.Bytes()
		d.piece.Bytes = body
		status = st.call(st.seat, &d.piece, whole)
		if d.gen != gen {
			return
		}
		if !same(body, d.piece.Bytes) {
			// What it put there may lie in what it was shown.
			replaced := append([]byte(nil), d.piece.Bytes...)
			g.seen.Reset()
			g.seen.Append(replaced)
		}
		d.piece.Bytes = nil
		if d.added {
			d.added = false
			g.seenEnd, g.trail, g.seenTrail = false, true, true
		}
	}
	if status == httpfilter.Continue {
		d.opened(at)
		return
	}
	d.stop(at, status)
}

func same(a, b []byte) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// trailersIn takes the trailers from the source.
func (d *direction) trailersIn(t *header.Map) {
	if d.dead {
		return
	}
	d.t = t
	d.passTrailers(0)
}

func (d *direction) passTrailers(from int) {
	gen := d.gen
	for i := range d.trailers {
		st := &d.trailers[i]
		if st.at < from {
			continue
		}
		if at := d.shutIn(from, st.at+1); at >= 0 {
			d.holdTrailers(at)
			return
		}
		from = st.at + 1
		if st.seat.off() {
			continue
		}
		status := st.call(st.seat, d.t)
		if d.gen != gen {
			return
		}
		d.added = false // they were there
		if status != httpfilter.Continue {
			d.stop(st.at, status)
			d.gates[st.at].trail, d.gates[st.at].seenTrail = true, true
			return
		}
	}
	if at := d.shutIn(from, len(d.gates)); at >= 0 {
		d.holdTrailers(at)
		return
	}
	d.to.sinkTrailers(d.t)
}

// holdTrailers keeps the trailers at a shut gate. A buffering filter learns that the body is
// whole.
func (d *direction) holdTrailers(at int) {
	g := d.gate(at)
	g.trail = true
	if g.status == httpfilter.Buffer {
		d.offer(at, true)
	}
}

// proceed goes on after a stop: ContinueRequest and ContinueResponse.
func (d *direction) proceed(at int) {
	if d.dead || at < 0 || at >= len(d.gates) || d.gates[at].status == httpfilter.Continue {
		return
	}
	d.open(at)
	d.opened(at)
}

// opened passes on what has waited at a gate.
func (d *direction) opened(at int) {
	// The headers stand at this gate when their last step was its filter's.
	if !d.passed && d.next > 0 && d.headers[d.next-1].at == at {
		if !d.runHeaders() {
			return
		}
	}
	if d.release(at) {
		d.unhold()
	}
}

// release passes on what an open gate holds: what the filter has seen or made, then what it has
// not seen, then the trailers. Any of it may be stopped again. False: the stream has ended or
// begun anew.
func (d *direction) release(at int) bool {
	g := &d.gates[at]
	gen := d.gen
	for _, part := range []struct {
		b    *iobuf.Buffer
		end  *bool
		from int
	}{{&g.seen, &g.seenEnd, at + 1}, {&g.rest, &g.atEnd, at}} {
		if part.b.Len() == 0 && !*part.end {
			continue
		}
		if g.status != httpfilter.Continue {
			return true
		}
		var all iobuf.Buffer
		all.Init(d.s.w.loop.Buffers())
		all.Move(part.b)
		end := *part.end
		*part.end = false
		d.pass(part.from, all.Bytes(), end)
		all.Reset()
		if d.gen != gen {
			return false
		}
	}
	if g.trail && g.status == httpfilter.Continue {
		from := at
		if g.seenTrail {
			from = at + 1
		}
		g.trail, g.seenTrail = false, false
		d.passTrailers(from)
	}
	return d.gen == gen
}

// unhold lets the source go on when no gate holds too much any more.
func (d *direction) unhold() {
	if !d.holding {
		return
	}
	for i := range d.gates {
		if g := &d.gates[i]; g.held != nil && g.seen.Len()+g.rest.Len() > d.limit() {
			return
		}
	}
	d.holding = false
	d.to.unhold()
}

// inject passes on a piece that the filter at a position has made.
func (d *direction) inject(at int, p []byte, end bool) {
	if d.dead {
		return
	}
	if !d.passed && d.next > 0 && d.headers[d.next-1].at <= at { // the headers come first
		g := d.gate(at)
		g.seen.Append(p)
		if d.end || end {
			d.end, g.seenEnd = false, true
		}
		d.gave = true
		return
	}
	piece := d.piece // of the filter that is running
	d.pass(at+1, p, end)
	d.piece = piece
}

// addTrailers returns the direction's trailers, adding them behind the filter that runs.
func (d *direction) addTrailers(empty *header.Map) *header.Map {
	if d.t == nil {
		d.t = empty
		d.added = true
	}
	return d.t
}

// addRequest appends a filter's steps. at is its position in this direction.
func (d *direction) addRequest(f httpfilter.Filter, st *seat) {
	if x, ok := f.(httpfilter.RequestHeaders); ok {
		d.headers = append(d.headers, headerStep{st.index, st, x.OnRequestHeaders})
	}
	if x, ok := f.(httpfilter.RequestData); ok {
		d.data = append(d.data, dataStep{st.index, st, x.OnRequestData})
	}
	if x, ok := f.(httpfilter.RequestTrailers); ok {
		d.trailers = append(d.trailers, trailerStep{st.index, st, x.OnRequestTrailers})
	}
}

// addResponse is addRequest for the response.
func (d *direction) addResponse(f httpfilter.Filter, st *seat) {
	at := st.back()
	if x, ok := f.(httpfilter.ResponseHeaders); ok {
		d.headers = append(d.headers, headerStep{at, st, x.OnResponseHeaders})
	}
	if x, ok := f.(httpfilter.ResponseData); ok {
		d.data = append(d.data, dataStep{at, st, x.OnResponseData})
	}
	if x, ok := f.(httpfilter.ResponseTrailers); ok {
		d.trailers = append(d.trailers, trailerStep{at, st, x.OnResponseTrailers})
	}
}
