package http2

// step takes bytes from the front of p: a frame, or what there is of one.
func (c *Conn) step(p []byte) ([]byte, *ConnError) {
	switch {
	case c.cfg.Server && c.preface < len(Preface):
		return c.takePreface(p)
	case c.skip > 0:
		n := min(uint32(len(p)), c.skip)
		c.skip -= n
		return p[n:], nil
	case c.data.left > 0 || c.data.pad > 0:
		return c.takeData(p)
	case c.part.Len() > 0:
		return c.assemble(p)
	case len(p) < frameHeaderLen:
		c.keep(p)
		return nil, nil
	}
	f := parseFrame(p)
	need, err := c.begin(f)
	if err != nil {
		return nil, err
	}
	if len(p) < need {
		c.keep(p)
		return nil, nil
	}
	return p[need:], c.frame(f, p[frameHeaderLen:need])
}

// keep holds the beginning of a frame until the rest has come.
func (c *Conn) keep(p []byte) {
	c.partSince = c.now
	c.part.Append(p)
}

func (c *Conn) takePreface(p []byte) ([]byte, *ConnError) {
	for len(p) > 0 && c.preface < len(Preface) {
		if p[0] != Preface[c.preface] {
			return nil, ErrPreface
		}
		c.preface++
		p = p[1:]
	}
	return p, nil
}

// assemble goes on with a frame that came in pieces.
func (c *Conn) assemble(p []byte) ([]byte, *ConnError) {
	if have := c.part.Len(); have < frameHeaderLen {
		n := min(frameHeaderLen-have, len(p))
		c.part.Append(p[:n])
		p = p[n:]
		if have+n < frameHeaderLen {
			return p, nil
		}
	}
	f := parseFrame(c.part.Bytes())
	need, err := c.begin(f)
	if err != nil {
		return nil, err
	}
	n := min(need-c.part.Len(), len(p))
	c.part.Append(p[:n])
	p = p[n:]
	if c.part.Len() < need {
		return p, nil
	}
	err = c.frame(f, c.part.Bytes()[frameHeaderLen:need])
	c.part.Reset()
	return p, err
}

// begin judges a frame by its header, and says how many bytes have to be there before it is handled: all of them, but
// for frames whose payload is passed on, or dropped, as it comes.
func (c *Conn) begin(f frame) (int, *ConnError) {
	switch {
	case !c.settled && (f.kind != frameSettings || f.has(flagAck)):
		return 0, ErrPreface
	case f.length > ourFrameSize:
		return 0, ErrFrameSize
	case c.block.stream != 0 && (f.kind != frameContinuation || f.stream != c.block.stream):
		return 0, ErrContinuation
	case f.kind == frameData && f.has(flagPadded):
		return frameHeaderLen + min(int(f.length), 1), nil
	case f.kind == frameData, f.kind > frameContinuation:
		return frameHeaderLen, nil
	}
	return frameHeaderLen + int(f.length), nil
}

// frame handles a frame; p is its payload as far as begin asked for it.
func (c *Conn) frame(f frame, p []byte) *ConnError {
	switch f.kind {
	case frameData:
		return c.beginData(f, p)
	case frameHeaders:
		return c.onHeaders(f, p)
	case framePriority:
		return c.onPriority(f, p)
	case frameRSTStream:
		return c.onReset(f, p)
	case frameSettings:
		return c.onSettings(f, p)
	case framePushPromise:
		return ErrPush
	case framePing:
		return c.onPing(f, p)
	case frameGoAway:
		return c.onGoAway(f, p)
	case frameWindowUpdate:
		return c.onWindowUpdate(f, p)
	case frameContinuation:
		return c.onContinuation(f, p)
	}
	c.skip = f.length // RFC 9113, 5.5: unknown types are ignored
	return nil
}

// streamFault ends a stream for a fault of the peer. The handler is told when the stream is known to it.
func (c *Conn) streamFault(s *Stream, e *StreamError) *ConnError {
	c.h.Count(e.Stat, 1)
	c.sendReset(s.ID, e.Code, true)
	s.Meter.Put(resetLen)
	premature := c.premature(s)
	s.peerEnded = true
	c.close(s)
	if !s.detached {
		c.h.OnReset(s, e.Code, e)
	}
	if premature {
		return c.countPremature()
	}
	return nil
}
