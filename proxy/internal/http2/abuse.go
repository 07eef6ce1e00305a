package http2

// What a peer may do too much of. The limits and their meaning are Envoy's
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge, and Http2ProtocolOptions); each has an
// error of its own in errors.go. Besides these: header blocks in headers.go, SETTINGS in control.go, streams by
// SETTINGS_MAX_CONCURRENT_STREAMS, and body by the windows.

// floodCounts are over the life of the connection, but for empty.
type floodCounts struct {
	empty         uint32 // in a row
	priority      uint64
	windowUpdates uint64
	dataSent      uint64
	premature     uint64
}

// countEmpty bounds HEADERS, CONTINUATION and DATA frames without payload or end: work for us, none for the peer.
func (c *Conn) countEmpty(f frame) *ConnError {
	if f.length > 0 || f.has(flagEndStream) && f.kind != frameContinuation {
		c.floods.empty = 0
		return nil
	}
	if c.floods.empty++; c.floods.empty > c.lim.empty {
		return ErrEmptyFrames
	}
	return nil
}

func (c *Conn) countPriority() *ConnError {
	if c.floods.priority++; c.floods.priority > uint64(c.lim.priority)*(1+uint64(c.opened)) {
		return ErrPriorityFlood
	}
	return nil
}

func (c *Conn) countWindowUpdate() *ConnError {
	if c.floods.windowUpdates++; c.floods.windowUpdates > 5+2*(uint64(c.opened)+uint64(c.lim.windows)*c.floods.dataSent) {
		return ErrWindowUpdateFlood
	}
	return nil
}

// countOut bounds the frames that wait for the peer to read; control: it has caused this one. The failure is reported
// by the next Feed or Pull.
func (c *Conn) countOut(control bool) {
	if c.frames++; c.frames > c.lim.outFrames {
		c.fail(ErrOutboundFlood)
	}
	if control {
		if c.ctlFrames++; c.ctlFrames > c.lim.outControl {
			c.fail(ErrControlFlood)
		}
	}
}

// prematureAge is how long a stream has to live, in nanoseconds, for its reset not to be suspicious.
const prematureAge = int64(1e9)

// premature reports whether a stream that is being reset has cost work and given none: it is young and its answer has not
// begun. (Rapid reset: opening and resetting streams goes around SETTINGS_MAX_CONCURRENT_STREAMS.)
func (c *Conn) premature(s *Stream) bool {
	return c.cfg.Server && !s.sentHead && c.now-s.opened <= prematureAge
}

// countPremature ends the connection when half of a good number of streams were such.
func (c *Conn) countPremature() *ConnError {
	if !c.cfg.Server {
		return nil
	}
	f := &c.floods
	f.premature++
	closed := uint64(c.opened) - uint64(c.count)
	if 2*f.premature < max(closed, uint64(c.lim.premature)) {
		return nil
	}
	return ErrPrematureResets
}
