package http2

import (
	"github.com/lateen-mesh/lateen/proxy/internal/bytemeter"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// Stream is one request with its response.
type Stream struct {
	ID uint32
	// User is the owner's.
	User any
	// Head and Trailers are where what the peer sends is put; see Handler.OnStream and Conn.Open.
	Head, Trailers *header.Map
	// Meter counts the frames of the stream until the owner is done with it; nil: nobody does.
	Meter *bytemeter.Meter

	c      *Conn
	chain  *Stream // in the table, or among the dead, or in the pool
	opened int64

	// Receiving.
	gotHead   bool // the request, or the final response
	peerEnded bool
	paused    bool
	noBody    bool  // (clients) the request was HEAD: content-length says nothing
	declared  int64 // content-length, -1: none
	received  int64
	recvLeft  int64  // window: what the peer may send
	recvOwed  uint32 // passed on, and not yet given back
	held      uint32 // passed on while paused

	// Sending.
	sentHead bool // the final response, or the request
	ending   bool // the end follows what is pending
	ended    bool // END_STREAM is on its way
	blocked  bool // told so, and OnWritable is owed
	queued   bool // in Conn.ready
	readied  *Stream
	sendLeft int64 // window: what we may send
	pending  iobuf.Buffer
	trailer  iobuf.Buffer // encoded trailers, to follow pending

	closed   bool
	detached bool
	// LateCode is what a peer that has not finished is told once it has our end; NoError unless the owner says otherwise.
	LateCode Code
	flushBy  int64 // when a detached stream is given up; 0: never
}

// Open reports whether the stream is not over.
func (s *Stream) Open() bool { return !s.closed }

// Detached reports whether the owner is done with it.
func (s *Stream) Detached() bool { return s.detached }

// PeerEnded reports whether all of the peer's message has come.
func (s *Stream) PeerEnded() bool { return s.peerEnded }

// Ended reports whether our side has been ended, though the end may still wait behind unsent data.
func (s *Stream) Ended() bool { return s.ended || s.ending }

// Sent reports whether our end is on its way, with nothing before it that waits for the peer's window.
func (s *Stream) Sent() bool { return s.ended }

// Blocked reports whether so much waits for the peer's window that no more should be sent. OnWritable follows.
func (s *Stream) Blocked() bool {
	if !s.blocked && s.pending.Len() > s.c.lim.sendLimit {
		s.blocked = true
	}
	return s.blocked
}

// Unsent is how many bytes what waits for the peer's window will take on the wire, in frames as large as they may be.
func (s *Stream) Unsent() int {
	n := s.pending.Len()
	if n > 0 {
		n += frameHeaderLen * ((n + quantum - 1) / quantum)
	}
	if t := s.trailer.Len(); t > 0 {
		n += t + frameHeaderLen
	}
	return n
}

// Pause keeps the peer's window from what is received from now on: it can send no more than what is left of it.
func (s *Stream) Pause() { s.paused = true }

// Paused reports whether Pause is in force.
func (s *Stream) Paused() bool { return s.paused }

// Resume gives the peer its window back.
func (s *Stream) Resume() {
	if !s.paused {
		return
	}
	s.paused = false
	n := s.held
	s.held = 0
	if !s.closed && n > 0 {
		s.c.giveBack(s, n)
	}
}

// newStream puts a stream into the table.
func (c *Conn) newStream(id uint32) *Stream {
	s := c.pool.free
	if s != nil {
		c.pool.free = s.chain
		c.pool.n--
		s.chain = nil
	} else {
		s = &Stream{}
	}
	s.pending.Init(c.ctl.Pool())
	s.trailer.Init(c.ctl.Pool())
	s.ID, s.c, s.opened = id, c, c.now
	s.declared = -1
	s.sendLeft, s.recvLeft = c.peer.window, int64(c.lim.streamWindow)
	if c.count >= len(c.table) {
		c.growTable()
	}
	at := c.slot(id)
	s.chain = c.table[at]
	c.table[at] = s
	c.count++
	c.opened++
	c.h.Count(StatStreamsActive, 1)
	return s
}

// slot is where in the table an identifier is chained. Those of one role are two apart.
func (c *Conn) slot(id uint32) int { return int(id>>1) & (len(c.table) - 1) }

func (c *Conn) growTable() {
	old := c.table
	c.table = make([]*Stream, max(4, 2*len(old)))
	for _, s := range old {
		for s != nil {
			next := s.chain
			at := c.slot(s.ID)
			s.chain = c.table[at]
			c.table[at] = s
			s = next
		}
	}
}

// find returns an open stream.
func (c *Conn) find(id uint32) *Stream {
	if len(c.table) == 0 {
		return nil
	}
	s := c.table[c.slot(id)]
	for s != nil && s.ID != id {
		s = s.chain
	}
	return s
}

// close takes a stream out of everything. It is used again after the next Feed has begun.
func (c *Conn) close(s *Stream) {
	if s.closed {
		return
	}
	s.closed, s.Meter = true, nil
	for p := &c.table[c.slot(s.ID)]; ; p = &(*p).chain {
		if *p == s {
			*p = s.chain
			break
		}
	}
	c.count--
	c.h.Count(StatStreamsActive, -1)
	if s.detached && s.flushBy != 0 {
		c.lingers--
	}
	if s.queued {
		c.ready.remove(s)
	}
	if c.data.s == s {
		c.data.s = nil
	}
	if s.held > 0 {
		c.giveBackConn(s.held)
		s.held = 0
	}
	s.free()
	s.chain = c.dead
	c.dead = s
}

func (s *Stream) free() {
	s.pending.Reset()
	s.trailer.Reset()
}

// reap takes closed streams back.
func (c *Conn) reap() {
	for s := c.dead; s != nil; {
		next := s.chain
		if c.pool.n < maxPooled {
			*s = Stream{chain: c.pool.free}
			c.pool.free = s
			c.pool.n++
		}
		s = next
	}
	c.dead = nil
}

// closeIfDone closes a stream whose two directions have ended.
func (c *Conn) closeIfDone(s *Stream) {
	if s.ended && s.peerEnded {
		c.close(s)
	}
}

// known says what an identifier without an open stream stands for.
func (c *Conn) idle(id uint32) bool {
	if id&1 == 0 {
		return true // nobody opens those: there is no push
	}
	if c.cfg.Server {
		return id > c.last
	}
	return id >= c.next
}

// resetRing remembers the streams that we have reset last: what the peer has sent on them before it knew is no fault. Those
// that it had to forget may be any of the older ones, so on all of these nothing is a fault.
type resetRing struct {
	ids  []uint32
	next int
	old  uint32 // highest identifier that was forgotten
}

// maxResets are remembered.
const maxResets = 512

func (r *resetRing) add(id uint32) {
	if len(r.ids) < maxResets {
		r.ids = append(r.ids, id)
		return
	}
	r.old = max(r.old, r.ids[r.next])
	r.ids[r.next] = id
	r.next = (r.next + 1) % maxResets
}

func (r *resetRing) has(id uint32) bool {
	if id <= r.old {
		return true
	}
	for _, x := range r.ids {
		if x == id {
			return true
		}
	}
	return false
}
