package http2

import "encoding/binary"

// maxSettings is how many settings one frame may have. Each may touch every stream.
const maxSettings = 32

// onSettings takes the peer's settings (RFC 9113, 6.5).
func (c *Conn) onSettings(f frame, p []byte) *ConnError {
	switch {
	case f.stream != 0:
		return ErrNotStreamZero
	case f.has(flagAck):
		if len(p) != 0 {
			return ErrSettingsAck
		}
		if c.unacked > 0 {
			if c.unacked--; c.unacked == 0 {
				c.dec.SettingsAcked()
			}
		}
		return nil
	case len(p)%6 != 0:
		return ErrFrameSize
	case len(p) > 6*maxSettings:
		return ErrSettingsFlood
	}
	window := c.peer.window
	for ; len(p) > 0; p = p[6:] {
		if err := c.setting(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:]), &window); err != nil {
			return err
		}
	}
	if err := c.changeWindows(window - c.peer.window); err != nil {
		return err
	}
	c.peer.window = window
	c.settled = true
	c.sendSettingsAck()
	c.h.OnSettings()
	return nil
}

func (c *Conn) setting(id uint16, v uint32, window *int64) *ConnError {
	switch id {
	case settingHeaderTableSize:
		c.enc.SetLimit(v)
	case settingEnablePush:
		if v > 1 || v == 1 && !c.cfg.Server {
			return ErrSettingValue
		}
	case settingMaxConcurrentStreams:
		c.peer.streams = v
	case settingInitialWindowSize:
		if v > maxWindow {
			return ErrSettingWindow
		}
		*window = int64(v)
	case settingMaxFrameSize:
		if v < ourFrameSize || v > 1<<24-1 {
			return ErrSettingValue
		}
		c.peer.frame = v
	case settingMaxHeaderListSize:
		c.peer.list = v
	case settingEnableConnect:
		if v > 1 || v == 0 && c.peer.connect {
			return ErrSettingValue
		}
		c.peer.connect = v == 1
	}
	return nil
}

// changeWindows follows a change of the initial window in all streams (RFC 9113, 6.9.2).
func (c *Conn) changeWindows(d int64) *ConnError {
	if d == 0 {
		return nil
	}
	for _, s := range c.table {
		for ; s != nil; s = s.chain {
			if s.sendLeft += d; s.sendLeft > maxWindow {
				return ErrSettingWindow
			}
			c.makeReady(s)
		}
	}
	return nil
}

// onWindowUpdate takes window from the peer (RFC 9113, 6.9).
func (c *Conn) onWindowUpdate(f frame, p []byte) *ConnError {
	if len(p) != 4 {
		return ErrFrameSize
	}
	if err := c.countWindowUpdate(); err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint32(p) & maxWindow)
	if f.stream == 0 {
		if n == 0 {
			return ErrWindowZero
		}
		if c.sendLeft += n; c.sendLeft > maxWindow {
			return ErrWindowOverflow
		}
		return nil
	}
	s := c.find(f.stream)
	if s == nil {
		if c.idle(f.stream) {
			return ErrIdleStream
		}
		return nil // it may have crossed the end
	}
	if n == 0 {
		return c.streamFault(s, ErrStreamWindowZero)
	}
	if s.sendLeft += n; s.sendLeft > maxWindow {
		return c.streamFault(s, ErrStreamWindowOverflow)
	}
	c.makeReady(s)
	return nil
}

// onReset takes the peer's end of a stream (RFC 9113, 6.4).
func (c *Conn) onReset(f frame, p []byte) *ConnError {
	if f.stream == 0 {
		return ErrStreamZero
	}
	if len(p) != 4 {
		return ErrFrameSize
	}
	s := c.find(f.stream)
	if s == nil {
		if c.idle(f.stream) {
			return ErrIdleStream
		}
		return nil
	}
	s.Meter.Got(resetLen)
	c.h.Count(StatRxReset, 1)
	premature := c.premature(s)
	s.peerEnded = true
	c.close(s)
	if !s.detached {
		c.h.OnReset(s, Code(binary.BigEndian.Uint32(p)), nil)
	}
	if premature {
		return c.countPremature()
	}
	return nil
}

// onPing answers (RFC 9113, 6.7).
func (c *Conn) onPing(f frame, p []byte) *ConnError {
	switch {
	case f.stream != 0:
		return ErrNotStreamZero
	case len(p) != 8:
		return ErrFrameSize
	case f.has(flagAck):
		c.pong(binary.BigEndian.Uint64(p))
		return nil
	}
	c.sendPing(p, flagAck)
	return nil
}

// onGoAway: the peer goes away (RFC 9113, 6.8). A client's streams that it names no more are refused: they may be sent
// again elsewhere.
func (c *Conn) onGoAway(f frame, p []byte) *ConnError {
	if f.stream != 0 {
		return ErrNotStreamZero
	}
	if len(p) < 8 {
		return ErrFrameSize
	}
	last := binary.BigEndian.Uint32(p) & maxStreamID
	if c.peerAway && last > c.peerLast {
		return ErrGoAwayRaised
	}
	c.peerAway, c.peerLast = true, last
	code := Code(binary.BigEndian.Uint32(p[4:]))
	c.h.OnGoAway(code)
	if c.cfg.Server {
		return nil
	}
	for i := 0; i < len(c.table); {
		s := c.table[i]
		for s != nil && s.ID <= last {
			s = s.chain
		}
		if s == nil {
			i++
			continue
		}
		c.resets.add(s.ID)
		c.close(s)
		if !s.detached {
			c.h.OnReset(s, RefusedStream, nil) // may change the table: the same slot is looked at again
		}
	}
	return nil
}

// dependency is the stream that a priority names.
func dependency(p []byte) uint32 { return binary.BigEndian.Uint32(p) & maxStreamID }

// onPriority checks, and ignores, a priority (RFC 9113, 5.3.2, 6.3).
func (c *Conn) onPriority(f frame, p []byte) *ConnError {
	if f.stream == 0 {
		return ErrStreamZero
	}
	if err := c.countPriority(); err != nil {
		return err
	}
	var fault *StreamError
	switch {
	case len(p) != 5:
		fault = ErrPrioritySize
	case dependency(p) == f.stream:
		fault = ErrDependsOnItself
	default:
		return nil
	}
	if s := c.find(f.stream); s != nil {
		return c.streamFault(s, fault)
	}
	if c.idle(f.stream) { // there is no stream yet that could be reset
		return &ConnError{fault.Code, fault.Details, fault.Stat, fault.text}
	}
	c.h.Count(fault.Stat, 1)
	c.sendReset(f.stream, fault.Code, true) // it may have ended just before
	return nil
}
