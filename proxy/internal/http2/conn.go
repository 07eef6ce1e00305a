package http2

import (
	"github.com/lateen-mesh/lateen/proxy/internal/http2/hpack"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// Handler is told what happens on a connection, from within Feed (and Pull, for OnWritable). It may call every method of
// Conn and Stream but Feed and Pull.
type Handler interface {
	// OnStream (servers): the peer opens a stream. The handler sets Head and Trailers to empty maps, and may set User.
	// OnHeaders or OnReset follows at once.
	OnStream(s *Stream)
	// OnHeaders: s.Head is a request, or a final response. end: there is no body.
	OnHeaders(s *Stream, end bool)
	// OnInterim (clients): s.Head is a 1xx response; it is emptied after the call.
	OnInterim(s *Stream)
	// OnData is a piece of body, valid during the call. end: it is the last, and may be empty.
	OnData(s *Stream, p []byte, end bool)
	// OnTrailers: s.Trailers end the message.
	OnTrailers(s *Stream)
	// OnReset: the stream is over. err is the peer's fault, to which we have answered with its code; nil: the peer reset
	// it with the code, or (clients) said by GOAWAY that it will not serve it, which is RefusedStream.
	OnReset(s *Stream, code Code, err *StreamError)
	// OnWritable: a stream that was blocked is not any more.
	OnWritable(s *Stream)
	// OnGoAway: the peer opens no more streams, and (clients) takes no more.
	OnGoAway(code Code)
	// OnSettings: the peer's settings have come or changed.
	OnSettings()
	// OnPong answers Ping.
	OnPong(data uint64)
	// Count adds to a statistic.
	Count(st Stat, d int64)
}

// Conn is one connection's state. See the package comment for who may touch what.
type Conn struct {
	cfg *Config
	lim limits
	h   Handler
	now int64 // the argument of the last call that had one

	// Receiving.
	preface   int          // bytes of the client's preface that have come
	settled   bool         // the peer's first SETTINGS have come
	part      iobuf.Buffer // a frame that is not complete
	partSince int64
	skip      uint32 // bytes of an ignored payload that are still to come
	data      dataState
	block     blockState
	msg       message
	dec       hpack.Decoder
	unacked   int    // SETTINGS of ours that the peer has not acknowledged
	recvLeft  int64  // the connection's window: what the peer may send
	recvOwed  uint32 // passed on, and not yet given back

	// Sending.
	ctl       iobuf.Buffer // frames in order, ready for the wire
	ctlFrames uint32       // of those, answers that the peer has caused
	frames    uint32       // all
	enc       hpack.Encoder
	sendLeft  int64 // the connection's window: what we may send
	peer      peerSettings
	ready     streamQueue // streams that have DATA and a window

	// Streams.
	table   []*Stream // by identifier; chained through Stream.chain
	count   int       // open streams
	opened  uint32    // streams ever opened
	last    uint32    // highest identifier that the peer of a server has used
	next    uint32    // (clients) next identifier
	resets  resetRing
	dead    *Stream // closed; they are taken back when nothing on the stack can know them
	lingers int     // detached streams that still send, if not for ever
	flushBy int64   // no later than the first of those is given up
	pool    *Pool

	away     bool // (servers) the last GOAWAY is out, naming awayLast
	awayLast uint32
	peerAway bool // the peer has said GOAWAY
	peerLast uint32
	failure  *ConnError
	alive    keepalive
	floods   floodCounts
}

// peerSettings are what the peer has announced.
type peerSettings struct {
	streams uint32 // that we may have open
	window  int64  // initial, of a stream
	frame   uint32 // largest
	list    uint32 // largest header list, as a hint
	connect bool   // extended CONNECT
}

// Pool keeps the streams of a worker's connections for use again. The zero Pool is ready.
type Pool struct {
	free *Stream
	n    int
}

// maxPooled streams are kept by a pool.
const maxPooled = 1024

// Init prepares a connection and queues what it begins with; Pull gives it to the wire.
func (c *Conn) Init(cfg *Config, h Handler, pool *Pool, buffers *iobuf.Pool, now int64) {
	*c = Conn{cfg: cfg, lim: cfg.limits(), h: h, pool: pool, now: now}
	c.part.Init(buffers)
	c.ctl.Init(buffers)
	c.block.buf.Init(buffers)
	c.dec.Init(c.lim.table)
	c.enc.Init(c.lim.table, cfg.PlainStrings)
	c.peer = peerSettings{streams: maxStreamID, window: defaultWindow, frame: ourFrameSize, list: 1<<32 - 1}
	c.sendLeft, c.recvLeft = defaultWindow, int64(c.lim.connWindow)
	c.next = 1
	c.peerLast, c.awayLast = maxStreamID, maxStreamID
	c.alive.lastRead = now
	c.greet()
}

// Free gives all memory back. Streams that are open hear nothing.
func (c *Conn) Free() {
	for _, s := range c.table {
		for ; s != nil; s = s.chain {
			s.free()
		}
	}
	c.h.Count(StatStreamsActive, -int64(c.count))
	c.table, c.count = nil, 0
	c.ready = streamQueue{}
	c.reap()
	c.part.Reset()
	c.ctl.Reset()
	c.block.buf.Reset()
}

// Streams is the number of open streams, those that only send their last bytes included.
func (c *Conn) Streams() int { return c.count }

// Each calls f for every open stream. f must open none.
func (c *Conn) Each(f func(*Stream)) {
	for _, s := range c.table {
		for ; s != nil; s = s.chain {
			f(s)
		}
	}
}

// HeadSince is when a header block, or any frame but DATA, began whose end has not come; 0: there is none.
func (c *Conn) HeadSince() int64 {
	switch {
	case c.block.stream != 0:
		return c.block.since
	case c.part.Len() > 0:
		return c.partSince
	}
	return 0
}

// Failure is why the connection has to be closed, nil while it has not. GOAWAY is queued then.
func (c *Conn) Failure() *ConnError { return c.failure }

// PeerGoesAway reports whether the peer has said GOAWAY.
func (c *Conn) PeerGoesAway() bool { return c.peerAway }

// Settled reports whether the peer's first settings have come.
func (c *Conn) Settled() bool { return c.settled }

// Capacity (clients) is how many more streams may be opened now.
func (c *Conn) Capacity() int {
	if c.peerAway || c.failure != nil || c.next > maxStreamID {
		return 0
	}
	return max(0, int(min(c.peer.streams, c.lim.streams))-c.count)
}

// Allowed (clients) is how many streams may be open at once.
func (c *Conn) Allowed() int { return int(min(c.peer.streams, c.lim.streams)) }

// PeerAllowsConnect reports whether the peer has offered extended CONNECT.
func (c *Conn) PeerAllowsConnect() bool { return c.peer.connect }

// fail ends the connection for a fault of the peer.
func (c *Conn) fail(e *ConnError) *ConnError {
	if c.failure == nil {
		c.failure = e
		c.h.Count(e.Stat, 1)
		c.goAway(c.last, e.Code)
	}
	return c.failure
}

// Feed takes bytes from the peer, all of p. After an error the connection has to be closed, once what Pull gives is sent;
// the handler hears no more.
func (c *Conn) Feed(p []byte, now int64) *ConnError {
	c.now, c.alive.lastRead = now, now
	c.reap()
	for len(p) > 0 && c.failure == nil {
		var err *ConnError
		if p, err = c.step(p); err != nil {
			return c.fail(err)
		}
	}
	return c.failure
}
