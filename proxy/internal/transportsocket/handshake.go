package transportsocket

import (
	"errors"
	"io"
	"sync"
	"syscall"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
)

// maxComputing is how many handshakes of one worker compute at the same time; the others
// wait for their turn. One that waits for its peer does not count, so slow peers hold nobody
// up.
const maxComputing = 4

// maxFeed is how much input a handshake holds before the loop stops reading for it.
const maxFeed = 64 << 10

var errAborted = errors.New("the connection was closed during the handshake")

// Callbacks are called on the loop.
type Callbacks struct {
	Done     func(error)
	Interest func() // what HandshakeWants returns has changed
}

// handshake is what the loop and the handshake's goroutine share.
type handshake struct {
	cb   Callbacks
	loop *eventloop.Loop
	turn chan struct{} // a place among the computing
	wake chan struct{} // input, end or abort

	mu      sync.Mutex // guards what follows
	fd      int
	in      []byte
	out     []byte // what the socket did not take
	eof     bool
	aborted bool
	full    bool // the loop was told to stop reading
	refused error
}

// refuse makes the handshake fail before it has sent anything.
func (h *handshake) refuse(err error) { h.refused = err }

type turnKey struct{}

// turns is the worker's set of places.
func turns(l *eventloop.Loop) chan struct{} {
	if c, ok := l.Attached(turnKey{}).(chan struct{}); ok {
		return c
	}
	c := make(chan struct{}, maxComputing)
	l.Attach(turnKey{}, c)
	return c
}

// begin prepares the shared state; input may be fed from then on.
func (s *Session) begin() {
	s.hs = &handshake{loop: s.loop, turn: turns(s.loop), wake: make(chan struct{}, 1), fd: s.fd}
}

// Handshake starts the handshake's goroutine. It ends when the handshake does, or by Abort.
func (s *Session) Handshake(cb Callbacks) {
	h := s.hs
	h.cb = cb
	go func() {
		h.turn <- struct{}{}
		err := s.tc.Handshake()
		<-h.turn
		s.loop.Post(func() { s.finish(err) })
	}()
}

// finish runs on the loop when the goroutine has ended.
func (s *Session) finish(err error) {
	h := s.hs
	s.hs = nil
	if h.aborted {
		return
	}
	s.In.Append(h.in)
	s.out.Append(h.out)
	h.cb.Done(err)
}

// Feed hands encrypted input to the running handshake.
func (s *Session) Feed(p []byte) {
	h := s.hs
	if h == nil {
		s.In.Append(p)
		return
	}
	h.mu.Lock()
	h.in = append(h.in, p...)
	h.mu.Unlock()
	h.signal()
}

// FeedEnd tells the running handshake that the peer has ended.
func (s *Session) FeedEnd() {
	if s.hs == nil {
		return
	}
	s.hs.mu.Lock()
	s.hs.eof = true
	s.hs.mu.Unlock()
	s.hs.signal()
}

// HandshakeWants says which readiness the handshake waits for.
func (s *Session) HandshakeWants() (read, write bool) {
	h := s.hs
	if h == nil {
		return true, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.full = len(h.in) >= maxFeed
	return !h.full, len(h.out) > 0
}

// FlushHandshake gives what is left over to the socket.
func (s *Session) FlushHandshake() syscall.Errno {
	h := s.hs
	if h == nil {
		return s.FlushOut()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.out) == 0 {
		return 0
	}
	n, e := send(h.fd, h.out)
	h.out = h.out[n:]
	return e
}

func (h *handshake) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *handshake) abort() {
	h.mu.Lock()
	h.aborted = true
	h.fd = -1
	h.mu.Unlock()
	h.signal()
}

// read is crypto/tls reading, on the goroutine.
func (h *handshake) read(p []byte, f *framer) (int, error) {
	for {
		h.mu.Lock()
		switch {
		case h.aborted:
			h.mu.Unlock()
			return 0, errAborted
		case len(h.in) > 0:
			n := f.take(p, h.in)
			h.in = h.in[n:]
			resume := h.full && len(h.in) < maxFeed
			if resume {
				h.full = false
			}
			h.mu.Unlock()
			if resume {
				h.loop.Post(h.cb.Interest)
			}
			return n, nil
		case h.eof:
			h.mu.Unlock()
			return 0, io.EOF
		}
		h.mu.Unlock()
		<-h.turn
		<-h.wake
		h.turn <- struct{}{}
	}
}

// write is crypto/tls writing, on the goroutine. The socket is written to under the lock, so
// that the loop does not close it meanwhile.
func (h *handshake) write(p []byte) (int, error) {
	if h.refused != nil {
		return 0, h.refused
	}
	h.mu.Lock()
	if h.aborted {
		h.mu.Unlock()
		return 0, errAborted
	}
	n := 0
	if len(h.out) == 0 {
		var e syscall.Errno
		n, e = send(h.fd, p)
		if e != 0 && e != syscall.EAGAIN && e != syscall.EINTR {
			h.mu.Unlock()
			return 0, e
		}
	}
	left := len(p) - n
	h.out = append(h.out, p[n:]...)
	h.mu.Unlock()
	if left > 0 {
		h.loop.Post(h.cb.Interest)
	}
	return len(p), nil
}
