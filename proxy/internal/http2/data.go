package http2

// dataState is the DATA frame whose payload is being passed on.
type dataState struct {
	s    *Stream // nil: it is dropped
	left uint32  // bytes of data that are still to come
	pad  uint32  // and of padding behind it
	end  bool
}

// beginData judges a DATA frame before its data is looked at (RFC 9113, 6.1). p is the length of the padding, if there is
// one.
func (c *Conn) beginData(f frame, p []byte) *ConnError {
	if f.stream == 0 {
		return ErrStreamZero
	}
	n, pad := f.length, uint32(0)
	if f.has(flagPadded) {
		if len(p) < 1 {
			return ErrFrameSize
		}
		if pad = uint32(p[0]); pad >= f.length {
			return ErrPadding
		}
		n -= pad + 1
	}
	if err := c.countEmpty(f); err != nil {
		return err
	}
	if int64(f.length) > c.recvLeft {
		return ErrConnWindowExceeded
	}
	c.recvLeft -= int64(f.length)
	c.data = dataState{left: n, pad: pad, end: f.has(flagEndStream)}
	s := c.find(f.stream)
	if s == nil {
		return c.dataWithoutStream(f)
	}
	err := s.judgeData(f, n)
	if err != nil {
		c.dropData(f)
		return c.streamFault(s, err)
	}
	s.recvLeft -= int64(f.length)
	s.Meter.Got(frameHeaderLen + int(f.length))
	c.data.s = s
	if over := f.length - n; over > 0 {
		c.giveBack(s, over) // padding and its length are used up at once
	}
	if n == 0 && c.data.end {
		return c.passData(nil)
	}
	return nil
}

// dataWithoutStream handles DATA on a stream that is not open.
func (c *Conn) dataWithoutStream(f frame) *ConnError {
	if c.idle(f.stream) {
		return ErrIdleStream
	}
	c.dropData(f)
	if c.resets.has(f.stream) || f.stream > c.awayLast {
		return nil // it was sent before the peer knew
	}
	c.h.Count(ErrDataClosed.Stat, 1)
	c.sendReset(f.stream, ErrDataClosed.Code, true)
	return nil
}

// dropData makes the frame's bytes count as passed on; they are skipped.
func (c *Conn) dropData(f frame) {
	c.skip = c.data.left + c.data.pad
	c.data = dataState{}
	c.giveBackConn(f.length)
}

// judgeData checks a DATA frame against the state of its stream; n is without padding.
func (s *Stream) judgeData(f frame, n uint32) *StreamError {
	if s.peerEnded {
		return ErrDataClosed
	}
	if !s.gotHead {
		return ErrInterim
	}
	if int64(f.length) > s.recvLeft {
		return ErrStreamWindowExceeded
	}
	s.received += int64(n)
	if s.noBody && n > 0 {
		return ErrLengthMismatch
	}
	if s.declared >= 0 && !s.noBody && (s.received > s.declared || f.has(flagEndStream) && s.received != s.declared) {
		return ErrLengthMismatch
	}
	return nil
}

// takeData passes on what has come of the frame's data, and drops its padding.
func (c *Conn) takeData(p []byte) ([]byte, *ConnError) {
	d := &c.data
	if d.left > 0 {
		n := min(uint32(len(p)), d.left)
		d.left -= n
		return p[n:], c.passData(p[:n:n])
	}
	n := min(uint32(len(p)), d.pad)
	d.pad -= n
	return p[n:], nil
}

// passData gives the stream a piece, and the peer its window back.
func (c *Conn) passData(p []byte) *ConnError {
	d := &c.data
	s, n := d.s, uint32(len(p))
	if s == nil { // it ended under the frame
		c.giveBackConn(n)
		return nil
	}
	end := d.end && d.left == 0
	if end {
		s.peerEnded = true
	}
	if s.detached {
		c.giveBack(s, n)
	} else {
		c.h.OnData(s, p, end)
		switch {
		case s.closed:
			c.giveBackConn(n)
		case s.paused:
			s.held += n
		default:
			c.giveBack(s, n)
		}
	}
	if end && !s.closed {
		c.closeIfDone(s)
	}
	return nil
}

// giveBack returns n bytes of window to the peer, in updates of half a window.
func (c *Conn) giveBack(s *Stream, n uint32) {
	c.giveBackConn(n)
	if s.peerEnded || s.closed {
		return
	}
	if s.recvOwed += n; s.recvOwed >= c.lim.streamWindow/2 {
		s.recvLeft += int64(s.recvOwed)
		c.sendWindowUpdate(s.ID, s.recvOwed)
		s.Meter.Put(windowUpdateLen)
		s.recvOwed = 0
	}
}

func (c *Conn) giveBackConn(n uint32) {
	if c.recvOwed += n; c.recvOwed >= c.lim.connWindow/2 {
		c.recvLeft += int64(c.recvOwed)
		c.sendWindowUpdate(0, c.recvOwed)
		c.recvOwed = 0
	}
}
