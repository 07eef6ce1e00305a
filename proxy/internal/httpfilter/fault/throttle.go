package fault

import (
	"math"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// tick is how often what is held back goes on, as in Envoy.
const tick = 50 * time.Millisecond

// throttle lets the body of one answer through at a rate. It keeps one piece of it; what comes behind waits before the filter, where
// it is bounded and in the end holds the host up.
type throttle struct {
	loop   *eventloop.Loop
	next   eventloop.Timer
	s      httpfilter.Stream
	rate   float64 // bytes a second; 0: the answer is let through
	tokens float64 // bytes that may pass; never more than a second's
	since  int64   // when they were counted
	piece  iobuf.Buffer
}

func (t *throttle) init(l *eventloop.Loop) {
	t.loop = l
	t.piece.Init(l.Buffers())
	t.next.Init(t.onTick)
}

// begin is called with the request. A tick's worth may pass at once.
func (t *throttle) begin(s httpfilter.Stream, rate float64) {
	t.s, t.rate, t.since = s, rate, t.loop.Now()
	t.tokens = rate * tick.Seconds()
}

func (t *throttle) end() {
	if t.next.Armed() {
		t.loop.Disarm(&t.next)
	}
	t.piece.Reset()
	t.s, t.rate = nil, 0
}

// take takes up to n bytes.
func (t *throttle) take(n int) int {
	now := t.loop.Now()
	t.tokens, t.since = min(t.tokens+t.rate*time.Duration(now-t.since).Seconds(), t.rate), now
	got := min(float64(n), math.Floor(t.tokens))
	t.tokens -= got
	return int(got)
}

// OnResponseData implements httpfilter.ResponseData.
func (t *throttle) OnResponseData(s httpfilter.Stream, d *httpfilter.Data, _ bool) httpfilter.Status {
	if t.rate == 0 {
		return httpfilter.Continue
	}
	n := t.take(len(d.Bytes))
	if n == len(d.Bytes) {
		return httpfilter.Continue
	}
	t.piece.Append(d.Bytes[n:])
	first := d.Bytes[:n]
	d.Bytes = nil // the end of the body, if it is that, goes on when the piece has
	t.loop.Arm(&t.next, tick)
	if n > 0 {
		s.InjectResponse(first, false)
	}
	return httpfilter.Stop
}

func (t *throttle) onTick() {
	s := t.s
	n := t.take(t.piece.Len())
	if n < t.piece.Len() {
		t.loop.Arm(&t.next, tick)
	}
	if n > 0 {
		out := append([]byte(nil), t.piece.Bytes()[:n]...) // the stream may end within the call below
		t.piece.Drain(n)
		s.InjectResponse(out, false)
	}
	if t.s == s && t.rate > 0 && t.piece.Len() == 0 {
		s.ContinueResponse()
	}
}
