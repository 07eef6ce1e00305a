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

// maxRunning is how many handshakes of one worker have a goroutine, and maxComputing how many
// of these compute at a time. The others wait in order, under their timeouts; so peers that
// begin handshakes and stall cost a bounded amount of memory. Those that have not even sent
// a whole first record have no goroutine.
const maxRunning = 1024

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
	all  *handshakes
	turn chan struct{} // all.turns
	wake chan struct{} // input, end or abort

	// The loop's.
	hello   bool // wait for the peer's first record
	asked   bool // Handshake was called
	started bool // running or queued

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

// handshakes is what the handshakes of one worker share; the loop owns all but turns.
type handshakes struct {
	turns   chan struct{} // a place in it is the right to compute
	running int
	queue   []*Session
}

type handshakesKey struct{}

func handshakesOf(l *eventloop.Loop) *handshakes {
	if hs, ok := l.Attached(handshakesKey{}).(*handshakes); ok {
		return hs
	}
	hs := &handshakes{turns: make(chan struct{}, maxComputing)}
	l.Attach(handshakesKey{}, hs)
	return hs
}

// begin prepares the shared state; input may be fed from then on. hello: the peer speaks
// first, and nothing is started before its first record is there.
func (s *Session) begin(hello bool) {
	all := handshakesOf(s.loop)
	s.hs = &handshake{loop: s.loop, all: all, turn: all.turns, wake: make(chan struct{}, 1), fd: s.fd, hello: hello}
}

// Handshake begins the handshake. It ends when it is done, or by Abort.
func (s *Session) Handshake(cb Callbacks) {
	s.hs.cb = cb
	s.hs.asked = true
	s.start()
}

// start starts the goroutine, or queues it, as soon as there is something to do.
func (s *Session) start() {
	h := s.hs
	if !h.asked || h.started || h.hello && !h.eof && !wholeRecord(h.in) {
		return
	}
	h.started = true
	if h.all.running >= maxRunning {
		h.all.queue = append(h.all.queue, s)
		return
	}
	s.run()
}

// wholeRecord reports whether b holds the first record, or what is no TLS record at all.
func wholeRecord(b []byte) bool {
	if len(b) < 5 {
		return len(b) > 0 && b[0] != recordTypeHandshake
	}
	return b[0] != recordTypeHandshake || len(b) >= 5+int(b[3])<<8+int(b[4])
}

const recordTypeHandshake = 22

func (s *Session) run() {
	h := s.hs
	h.all.running++
	go func() {
		h.turn <- struct{}{}
		err := s.tc.Handshake()
		<-h.turn
		s.loop.Post(func() { s.finish(err) })
	}()
}

// next starts the first of the queue that is still wanted.
func (a *handshakes) next() {
	a.running--
	for len(a.queue) > 0 && a.running < maxRunning {
		s := a.queue[0]
		a.queue[0] = nil
		a.queue = a.queue[1:]
		if !s.hs.aborted {
			s.run()
		}
	}
}

// finish runs on the loop when the goroutine has ended.
func (s *Session) finish(err error) {
	h := s.hs
	s.hs = nil
	h.all.next()
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
	if h.started {
		h.signal()
	} else {
		s.start()
	}
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
	s.start()
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
