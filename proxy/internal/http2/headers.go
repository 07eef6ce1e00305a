package http2

import (
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// blockState is a header block that comes in several frames.
type blockState struct {
	stream uint32 // 0: none
	end    bool   // END_STREAM of the HEADERS frame
	self   bool   // the stream depends on itself
	frames int
	wire   int // bytes of the frames
	since  int64
	buf    iobuf.Buffer
}

// Bounds of one block beyond those on its fields: compressed, and in frames.
const (
	blockFactor      = 4
	maxContinuations = 256
)

// onHeaders takes a HEADERS frame (RFC 9113, 6.2).
func (c *Conn) onHeaders(f frame, p []byte) *ConnError {
	if f.stream == 0 {
		return ErrStreamZero
	}
	if err := c.countEmpty(f); err != nil {
		return err
	}
	if f.has(flagPadded) {
		if len(p) < 1 {
			return ErrFrameSize
		}
		pad := int(p[0])
		if p = p[1:]; pad > len(p) {
			return ErrPadding
		}
		p = p[:len(p)-pad]
	}
	c.block.wire = frameHeaderLen + int(f.length)
	self := false
	if f.has(flagPriority) {
		if len(p) < 5 {
			if f.has(flagPadded) {
				return ErrPadding
			}
			return ErrFrameSize
		}
		self = dependency(p) == f.stream
		p = p[5:]
	}
	if !f.has(flagEndHeaders) {
		c.block.stream, c.block.end, c.block.self, c.block.frames = f.stream, f.has(flagEndStream), self, 0
		c.block.since = c.now
		c.block.buf.Append(p)
		return nil
	}
	return c.onBlock(f.stream, p, f.has(flagEndStream), self)
}

// onContinuation goes on with a header block (RFC 9113, 6.10).
func (c *Conn) onContinuation(f frame, p []byte) *ConnError {
	b := &c.block
	if b.stream == 0 {
		return ErrContinuation
	}
	if err := c.countEmpty(f); err != nil {
		return err
	}
	if b.frames++; b.frames > maxContinuations {
		return ErrContinuationFlood
	}
	if b.buf.Len()+len(p) > blockFactor*c.lim.headerBytes+ourFrameSize {
		return ErrHeaderBlock
	}
	b.buf.Append(p)
	b.wire += frameHeaderLen + int(f.length)
	if !f.has(flagEndHeaders) {
		return nil
	}
	id := b.stream
	b.stream = 0
	err := c.onBlock(id, b.buf.Bytes(), b.end, b.self)
	b.buf.Reset()
	return err
}

// onBlock handles a whole header block. Whatever becomes of its stream, the block is decoded, because the compression of
// later ones rests on it.
func (c *Conn) onBlock(id uint32, p []byte, end, self bool) *ConnError {
	s := c.find(id)
	switch {
	case s != nil:
		return c.onStreamBlock(s, p, end, self)
	case c.cfg.Server && id&1 == 0:
		return ErrStreamID
	case c.cfg.Server && id > c.last:
		return c.onNewStream(id, p, end, self)
	case c.idle(id):
		return ErrIdleStream
	}
	if err := c.decode(nil, blockSkipped, p); err != nil {
		return err
	}
	if !c.resets.has(id) {
		return ErrHeadersClosed
	}
	return nil
}

// onNewStream handles a request.
func (c *Conn) onNewStream(id uint32, p []byte, end, self bool) *ConnError {
	c.last = id
	if c.away { // RFC 9113, 6.8: what comes behind our last GOAWAY is not looked at
		c.resets.add(id)
		return c.decode(nil, blockSkipped, p)
	}
	if c.count >= int(c.lim.streams) {
		if err := c.decode(nil, blockSkipped, p); err != nil {
			return err
		}
		c.h.Count(ErrTooManyStreams.Stat, 1)
		c.sendReset(id, ErrTooManyStreams.Code, true)
		return c.countPremature()
	}
	s := c.newStream(id)
	c.h.OnStream(s)
	if err := c.decode(s, blockRequest, p); err != nil {
		return err
	}
	fault := c.msg.err
	if self {
		fault = ErrDependsOnItself
	}
	return c.headOrFault(s, fault, end)
}

// headOrFault passes a request or final response on, or ends its stream.
func (c *Conn) headOrFault(s *Stream, fault *StreamError, end bool) *ConnError {
	if fault == nil {
		s.gotHead = true
		s.declared = c.msg.length
		if end && s.declared > 0 && !s.noBody {
			fault = ErrLengthMismatch
		}
	}
	if fault != nil {
		return c.messageFault(s, fault)
	}
	s.peerEnded = end
	c.h.OnHeaders(s, end)
	if !s.closed {
		c.closeIfDone(s)
	}
	return nil
}

// messageFault ends the stream of a malformed message, and the connection as well unless Config.StreamErrors: a peer that
// makes such messages is not to be believed in the others either. That is Envoy's default.
func (c *Conn) messageFault(s *Stream, e *StreamError) *ConnError {
	if c.cfg.StreamErrors || e.Stat != StatMessagingError {
		return c.streamFault(s, e)
	}
	if err := c.streamFault(s, e); err != nil {
		return err
	}
	return &ConnError{e.Code, e.Details, StatNone, e.text}
}

// onStreamBlock handles a block on an open stream: trailers, and for clients the response.
func (c *Conn) onStreamBlock(s *Stream, p []byte, end, self bool) *ConnError {
	switch {
	case s.peerEnded:
		if err := c.decode(nil, blockSkipped, p); err != nil {
			return err
		}
		return c.streamFault(s, ErrDataClosed)
	case s.detached:
		if err := c.decode(nil, blockSkipped, p); err != nil {
			return err
		}
		if s.peerEnded = end; end {
			c.closeIfDone(s)
		}
		return nil
	case s.gotHead:
		return c.onTrailers(s, p, end, self)
	}
	if err := c.decode(s, blockResponse, p); err != nil {
		return err
	}
	fault := c.msg.err
	if self {
		fault = ErrDependsOnItself
	}
	if fault == nil && c.msg.status/100 == 1 {
		if !end && c.msg.status != 101 {
			c.h.OnInterim(s)
			if !s.closed {
				s.Head.Reset()
			}
			return nil
		}
		fault = ErrInterim
	}
	if c.msg.status == 204 || c.msg.status == 304 {
		s.noBody = true
	}
	return c.headOrFault(s, fault, end)
}

func (c *Conn) onTrailers(s *Stream, p []byte, end, self bool) *ConnError {
	if err := c.decode(s, blockTrailers, p); err != nil {
		return err
	}
	fault := c.msg.err
	switch {
	case self:
		fault = ErrDependsOnItself
	case !end:
		fault = ErrTrailers
	case fault == nil && s.declared >= 0 && !s.noBody && s.received != s.declared:
		fault = ErrLengthMismatch
	}
	if fault != nil {
		return c.messageFault(s, fault)
	}
	s.peerEnded = true
	if c.cfg.Server { // as in Envoy: those of responses are not counted
		c.h.Count(StatTrailers, 1)
	}
	if s.Trailers.Len() > 0 {
		c.h.OnTrailers(s)
	} else {
		c.h.OnData(s, nil, true)
	}
	if !s.closed {
		c.closeIfDone(s)
	}
	return nil
}

// decode runs a block through the decompression into the stream's maps; what is wrong with the message is in c.msg.err.
func (c *Conn) decode(s *Stream, kind blockKind, p []byte) *ConnError {
	var into *header.Map
	switch kind {
	case blockRequest, blockResponse:
		into = s.Head
	case blockTrailers:
		into = s.Trailers
	}
	c.msg.begin(c, kind, into)
	if c.dec.Decode(p, &c.msg) != nil {
		return ErrCompression
	}
	if s != nil {
		s.Meter.GotHead(c.block.wire, c.block.wire, c.msg.size)
	}
	c.msg.finish()
	return nil
}
