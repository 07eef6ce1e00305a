package http2

import (
	"encoding/binary"

	"github.com/lateen-mesh/lateen/proxy/internal/bytemeter"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// greet queues the preface, our settings, and the window of the connection.
func (c *Conn) greet() {
	if !c.cfg.Server {
		c.ctl.AppendString(Preface)
	}
	var buf [6 * 6]byte
	p := buf[:0]
	add := func(id uint16, v uint32) {
		p = binary.BigEndian.AppendUint16(p, id)
		p = binary.BigEndian.AppendUint32(p, v)
	}
	if c.lim.table != 4096 {
		add(settingHeaderTableSize, c.lim.table)
	}
	if c.cfg.Server {
		add(settingMaxConcurrentStreams, c.lim.streams)
		if c.cfg.AllowConnect {
			add(settingEnableConnect, 1)
		}
	} else {
		add(settingEnablePush, 0)
	}
	if c.lim.streamWindow != defaultWindow {
		add(settingInitialWindowSize, c.lim.streamWindow)
	}
	add(settingMaxHeaderListSize, uint32(c.lim.headerBytes+32*c.lim.headers)) // as the peer counts (RFC 9113, 6.5.2)
	c.queue(frameSettings, 0, 0, p)
	c.unacked++
	if d := c.lim.connWindow - defaultWindow; d > 0 {
		c.sendWindowUpdate(0, d)
	}
}

// queue appends a whole frame to the control queue.
func (c *Conn) queue(kind, flags byte, stream uint32, payload []byte) {
	p := c.ctl.Reserve(frameHeaderLen + len(payload))
	putFrame(p, len(payload), kind, flags, stream)
	copy(p[frameHeaderLen:], payload)
	c.ctl.Commit(frameHeaderLen + len(payload))
}

func (c *Conn) sendSettingsAck() {
	c.queue(frameSettings, flagAck, 0, nil)
	c.countOut(true)
}

func (c *Conn) sendPing(p []byte, flags byte) {
	c.queue(framePing, flags, 0, p)
	c.countOut(flags&flagAck != 0)
}

// Ping asks the peer for a sign of life; OnPong follows with the same data.
func (c *Conn) Ping(data uint64) {
	var p [8]byte
	binary.BigEndian.PutUint64(p[:], data)
	c.sendPing(p[:], 0)
}

func (c *Conn) sendWindowUpdate(stream, n uint32) {
	var p [4]byte
	binary.BigEndian.PutUint32(p[:], n)
	c.queue(frameWindowUpdate, 0, stream, p[:])
	c.countOut(false)
}

// sendReset ends a stream; caused: for a fault of the peer.
func (c *Conn) sendReset(stream uint32, code Code, caused bool) {
	var p [4]byte
	binary.BigEndian.PutUint32(p[:], uint32(code))
	c.queue(frameRSTStream, 0, stream, p[:])
	c.resets.add(stream)
	c.h.Count(StatTxReset, 1)
	c.countOut(caused)
}

func (c *Conn) goAway(last uint32, code Code) {
	var p [8]byte
	binary.BigEndian.PutUint32(p[:], last)
	binary.BigEndian.PutUint32(p[4:], uint32(code))
	c.queue(frameGoAway, 0, 0, p[:])
}

// Shutdown (servers) asks the peer to open no more streams; those that are on their way are served (RFC 9113, 6.8).
func (c *Conn) Shutdown() { c.goAway(maxStreamID, NoError) }

// GoAway (servers) says that no stream beyond those that have come will be served.
func (c *Conn) GoAway(code Code) {
	if c.away {
		return
	}
	c.away, c.awayLast = true, c.last
	c.h.Count(StatGoAwaySent, 1) // as in Envoy: neither the first of two, nor those that say of a fault
	c.goAway(c.last, code)
}

// Open (clients) opens a stream with a request. head and trailers are empty maps for the response; user and meter become
// Stream.User and Stream.Meter. Capacity must allow it.
func (c *Conn) Open(h *header.Map, end bool, head, trailers *header.Map, user any, meter *bytemeter.Meter, now int64) *Stream {
	if c.Capacity() == 0 {
		panic("BUG: http2: Open without capacity")
	}
	c.now = now
	c.askBeforeStream()
	s := c.newStream(c.next)
	c.next += 2
	s.Head, s.Trailers, s.User, s.Meter = head, trailers, user, meter
	s.noBody = string(h.Value(header.Method)) == "HEAD"
	c.SendHeaders(s, h, end)
	return s
}

// SendHeaders sends a request or a final response. Headers that HTTP/2 forbids are left out.
func (c *Conn) SendHeaders(s *Stream, h *header.Map, end bool) {
	if s.closed || s.Ended() {
		return
	}
	s.sentHead = true
	c.sendBlock(s, h, end)
	if end {
		c.sentEnd(s)
	}
}

// SendInterim sends a 1xx response.
func (c *Conn) SendInterim(s *Stream, h *header.Map) {
	if !s.closed && !s.sentHead {
		c.sendBlock(s, h, false)
	}
}

// Behind reports whether so much waits for the peer to read that nothing should be sent which can be left out.
func (c *Conn) Behind() bool { return c.ctl.Len() > directRoom || c.frames > c.lim.outFrames/2 }

// fieldRoom is what a field takes at most besides its bytes: two lengths and an index.
const fieldRoom = 16

// sendBlock encodes a head into HEADERS and, where it is too large for one frame, CONTINUATION.
func (c *Conn) sendBlock(s *Stream, h *header.Map, end bool) {
	room := frameHeaderLen + h.Size() + fieldRoom*(h.Len()+1)
	p := c.ctl.Reserve(room)
	b := c.enc.Begin(p[frameHeaderLen:frameHeaderLen])
	// Pseudo-headers come first, wherever they stand in the map.
	for i := range h.Len() {
		if id, _, v := h.At(i); id.Pseudo() {
			b = c.enc.Append(b, id, bytesOfID(id), v)
		}
	}
	for i := range h.Len() {
		id, name, v := h.At(i)
		if !id.Pseudo() && !hopByHop(id) {
			b = c.enc.Append(b, id, name, v)
		}
	}
	flags := flagEndHeaders
	if end {
		flags |= flagEndStream
	}
	c.countBlock(s, len(b), h.Size())
	c.commitBlock(p, b, flags, s.ID)
}

// countBlock tells a stream's meter of a block of n bytes that goes out.
func (c *Conn) countBlock(s *Stream, n, plain int) {
	if s.Meter != nil {
		frames := max(1, (n+int(c.peer.frame)-1)/int(c.peer.frame))
		s.Meter.SentHead(n+frames*frameHeaderLen, n+frames*frameHeaderLen, plain)
	}
}

// commitBlock puts a block that was encoded behind the room for a frame's header in p into the queue.
func (c *Conn) commitBlock(p, b []byte, flags byte, stream uint32) {
	most := int(c.peer.frame)
	if len(b) <= most {
		putFrame(p, len(b), frameHeaders, flags, stream)
		c.ctl.Commit(frameHeaderLen + len(b))
		c.countOut(false)
		return
	}
	c.ctl.Commit(0)
	c.splitBlock(append([]byte(nil), b...), flags, stream)
}

// splitBlock queues a block in as many frames as it takes.
func (c *Conn) splitBlock(b []byte, flags byte, stream uint32) {
	kind := frameHeaders
	for {
		n := min(len(b), int(c.peer.frame))
		f := flags &^ flagEndHeaders
		if kind == frameContinuation {
			f = 0
		}
		if n == len(b) {
			f |= flagEndHeaders
		}
		c.queue(kind, f, stream, b[:n])
		c.countOut(false)
		if b = b[n:]; len(b) == 0 {
			return
		}
		kind = frameContinuation
	}
}

var idNames = makeIDNames()

func makeIDNames() (t [header.LastPseudo + 1][]byte) {
	for id := range t {
		t[id] = []byte(header.ID(id).String())
	}
	return t
}

func bytesOfID(id header.ID) []byte { return idNames[id] }

// hopByHop are the headers of a connection, which HTTP/2 does without (RFC 9113, 8.2.2).
func hopByHop(id header.ID) bool {
	switch id {
	case header.Connection, header.KeepAlive, header.ProxyConnection, header.TransferEncoding, header.Upgrade:
		return true
	}
	return false
}

// SendTrailers ends the stream with trailers, behind its data.
func (c *Conn) SendTrailers(s *Stream, t *header.Map) {
	if s.closed || s.Ended() {
		return
	}
	if s.pending.Len() == 0 {
		c.sendBlock(s, t, true)
		c.sentEnd(s)
		return
	}
	// They wait, and the map may not: so they are encoded now, in a form that does not depend on what goes before.
	b := s.trailer.Reserve(t.Size() + fieldRoom*t.Len() + 1)[:0]
	for i := range t.Len() {
		if id, name, v := t.At(i); !id.Pseudo() && !hopByHop(id) {
			b = c.enc.AppendStateless(b, id, name, v)
		}
	}
	s.trailer.Commit(len(b))
	if s.Meter != nil {
		s.Meter.PlainSent += uint64(t.Size())
	}
	s.ending = true
}

// Reset ends a stream from our side: the peer hears the code, and the owner nothing more.
func (c *Conn) Reset(s *Stream, code Code) {
	if s.closed {
		return
	}
	c.sendReset(s.ID, code, false)
	s.Meter.Put(resetLen)
	c.close(s)
}

// Detach is called by an owner that is done with a stream. What it has sent goes out still, and what comes is dropped.
// A peer that has not finished is told to stop once it has our end (RFC 9113, 8.1).
func (c *Conn) Detach(s *Stream, now int64) {
	if s.closed || s.detached {
		return
	}
	s.Resume()
	s.detached, s.User, s.Head, s.Trailers, s.Meter = true, nil, nil, nil, nil
	if s.ended {
		c.endDetached(s)
		return
	}
	if !s.ending {
		c.Reset(s, InternalError)
		return
	}
	if c.cfg.FlushTimeout > 0 {
		s.flushBy = now + int64(c.cfg.FlushTimeout)
		if c.lingers++; c.lingers == 1 {
			c.flushBy = s.flushBy // those that follow have more time
		}
	}
}

// endDetached closes a stream whose owner is gone and whose end is on its way.
func (c *Conn) endDetached(s *Stream) {
	if s.peerEnded {
		c.close(s)
		return
	}
	c.Reset(s, s.LateCode)
}

// sentEnd notes that END_STREAM is in the queue.
func (c *Conn) sentEnd(s *Stream) {
	s.ended, s.ending = true, false
	if s.detached {
		c.endDetached(s)
		return
	}
	c.closeIfDone(s)
}

// nextFlush is when expire has to be called, 0 for not at all.
func (c *Conn) nextFlush() int64 {
	if c.lingers == 0 {
		return 0
	}
	return c.flushBy
}

// expire gives up the detached streams whose peer has not taken their last bytes in time.
func (c *Conn) expire(now int64) {
	if c.lingers == 0 || c.flushBy > now {
		return
	}
	c.flushBy = 1<<63 - 1
	for i := 0; c.lingers > 0 && i < len(c.table); {
		s := c.table[i]
		for s != nil && !(s.detached && s.flushBy != 0 && s.flushBy <= now) {
			if s.detached && s.flushBy != 0 {
				c.flushBy = min(c.flushBy, s.flushBy)
			}
			s = s.chain
		}
		if s == nil {
			i++
			continue
		}
		c.h.Count(StatTxFlushTimeout, 1)
		c.Reset(s, Cancel)
	}
}
