package http2

import "github.com/lateen-mesh/lateen/proxy/internal/iobuf"

// quantum is the most that one stream sends before the next has its turn.
const quantum = 16384

// directRoom is how much may stand in the control queue for DATA to be put straight behind it.
const directRoom = 64 << 10

// streamQueue is the streams that have their turn, in order; a ring through Stream.readied.
type streamQueue struct {
	last *Stream // its readied is the first
}

func (q *streamQueue) empty() bool { return q.last == nil }

func (q *streamQueue) push(s *Stream) {
	s.queued = true
	if q.last == nil {
		s.readied = s
	} else {
		s.readied = q.last.readied
		q.last.readied = s
	}
	q.last = s
}

func (q *streamQueue) pop() *Stream {
	s := q.last.readied
	if s == q.last {
		q.last = nil
	} else {
		q.last.readied = s.readied
	}
	s.readied, s.queued = nil, false
	return s
}

func (q *streamQueue) remove(s *Stream) {
	before := q.last
	for before.readied != s {
		before = before.readied
	}
	if before == s {
		q.last = nil
	} else {
		before.readied = s.readied
		if q.last == s {
			q.last = before
		}
	}
	s.readied, s.queued = nil, false
}

// makeReady gives a stream a turn if it has something to send and a window.
func (c *Conn) makeReady(s *Stream) {
	if !s.queued && !s.closed && s.pending.Len() > 0 && s.sendLeft > 0 {
		c.ready.push(s)
	}
}

// SendData sends a piece of body; end ends the stream. What the windows do not take waits: see Stream.Blocked.
func (c *Conn) SendData(s *Stream, p []byte, end bool) {
	if s.closed || s.Ended() {
		return
	}
	// Nobody waits for a turn: the piece goes straight into the queue, and is copied once.
	if s.pending.Len() == 0 && c.ready.empty() {
		for len(p) > 0 && c.ctl.Len() < directRoom {
			n := int(min(int64(len(p)), s.sendLeft, c.sendLeft, int64(c.peer.frame), quantum))
			if n <= 0 {
				break
			}
			last := end && n == len(p)
			c.dataFrame(&c.ctl, s, p[:n], last)
			if p = p[n:]; last {
				c.sentEnd(s)
				return
			}
		}
	}
	switch {
	case len(p) > 0:
		s.pending.Append(p)
		s.ending = end
		c.makeReady(s)
	case end && s.pending.Len() == 0:
		c.dataFrame(&c.ctl, s, nil, true)
		c.sentEnd(s)
	case end:
		s.ending = true
	}
}

// dataFrame writes a DATA frame and takes it off the windows.
func (c *Conn) dataFrame(out *iobuf.Buffer, s *Stream, p []byte, end bool) {
	flags := byte(0)
	if end {
		flags = flagEndStream
	}
	b := out.Reserve(frameHeaderLen + len(p))
	putFrame(b, len(p), frameData, flags, s.ID)
	copy(b[frameHeaderLen:], p)
	out.Commit(frameHeaderLen + len(p))
	s.Meter.Put(frameHeaderLen + len(p))
	s.sendLeft -= int64(len(p))
	c.sendLeft -= int64(len(p))
	c.floods.dataSent++
	if out == &c.ctl {
		c.countOut(false)
	}
}

// Waiting reports whether Pull would give something.
func (c *Conn) Waiting() bool {
	return c.ctl.Len() > 0 || !c.ready.empty() && c.sendLeft > 0 && c.failure == nil
}

// Pull moves what may be sent to the end of out, until out holds budget bytes or a little more: the control queue first,
// then DATA in turns.
func (c *Conn) Pull(out *iobuf.Buffer, budget int) {
	for out.Len() < budget {
		if c.ctl.Len() > 0 {
			out.Move(&c.ctl)
			c.frames, c.ctlFrames = 0, 0
			continue
		}
		if c.ready.empty() || c.sendLeft <= 0 || c.failure != nil {
			return
		}
		c.turn(out, c.ready.pop())
	}
}

// turn sends one frame of a stream.
func (c *Conn) turn(out *iobuf.Buffer, s *Stream) {
	n := int(min(int64(s.pending.Len()), s.sendLeft, c.sendLeft, int64(c.peer.frame), quantum))
	if n <= 0 {
		return // its window has shrunk
	}
	all := n == s.pending.Len()
	end := all && s.ending && s.trailer.Len() == 0
	c.dataFrame(out, s, s.pending.Bytes()[:n], end)
	s.pending.Drain(n)
	switch {
	case end:
		c.sentEnd(s)
		return
	case all && s.ending:
		c.sendStoredTrailers(s)
		return
	}
	c.makeReady(s)
	if s.blocked && s.pending.Len() <= c.lim.sendLimit/2 {
		s.blocked = false
		if !s.detached {
			c.h.OnWritable(s)
		}
	}
}

// sendStoredTrailers queues trailers that were encoded while data waited.
func (c *Conn) sendStoredTrailers(s *Stream) {
	b := c.enc.Begin(nil)
	b = append(b, s.trailer.Bytes()...)
	c.countBlock(s, len(b), 0)
	c.splitBlock(b, flagEndHeaders|flagEndStream, s.ID)
	s.trailer.Reset()
	c.sentEnd(s)
}
