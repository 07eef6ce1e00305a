package hcm_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// hedged is one request whose attempts are joined by others when they are late. Times are in units.
type hedged struct {
	num     int      // num_retries
	try     int      // per_try_timeout
	route   int      // the route's timeout
	answers []failed // of the attempts, in order; the last one again for more of them. Status -1: the connection is closed
}

func randomHedged(r *rand.Rand) hedged {
	s := hedged{num: r.IntN(5), try: 1 + r.IntN(6), route: 5 + r.IntN(30)}
	for range 1 + r.IntN(5) {
		s.answers = append(s.answers, failed{status: []int{200, 503, 503, 503, 0, -1, -1}[r.IntN(7)], after: 1 + r.IntN(12)})
	}
	return s
}

// hedgeModel says what comes of a request by Envoy's documentation (HTTP routing, "request hedging"; HedgePolicy in
// route_components.proto) and, where that is silent, by its router: an attempt whose time is over goes on, and another
// joins it as long as retries are left; a bad answer makes one, too, unless the attempt's lateness has; what is bad is
// dropped while there is hope for better; the first that is not, or the last that is, is the client's.
type hedgeModel struct {
	script hedged
	left   int // retries
	// next is when the attempt begins that a retry has asked for; -1: none has. A retry that is asked for meanwhile takes
	// its place.
	next  int
	begun int
	alive []*hedge
	over  bool
	end   ends
	most  int // attempts at a time
}

type hedge struct {
	fd, begin int
	answer    failed
	joined    bool // by another, since it is late
}

func newHedgeModel(s hedged) *hedgeModel {
	return &hedgeModel{script: s, left: s.num, next: 0}
}

func (m *hedgeModel) finish(status int, detail string) {
	m.over, m.end.status, m.end.detail, m.next = true, status, detail, -1
}

func (m *hedgeModel) begin(tick, fd int) {
	m.next = -1
	m.alive = append(m.alive, &hedge{fd: fd, begin: tick, answer: m.script.answers[min(m.begun, len(m.script.answers)-1)]})
	m.begun++
	m.most = max(m.most, len(m.alive))
}

// answered is an attempt's end by its host.
func (m *hedgeModel) answered(tick int, h *hedge) {
	status, detail := h.answer.status, "via_upstream"
	if status < 0 {
		status, detail = 503, "upstream_reset_before_response_started{connection_termination}"
	}
	m.alive = slices.DeleteFunc(m.alive, func(x *hedge) bool { return x == h })
	switch {
	case status == 200:
		m.finish(status, detail)
	case !h.joined && m.left > 0:
		m.left--
		m.next = tick + 1
	case len(m.alive) == 0 && m.next < 0:
		m.finish(status, detail)
	}
}

// passes is the time from a moment to the next, in the middle of which time-outs end.
func (m *hedgeModel) passes(tick int) {
	if m.script.route == tick {
		m.finish(504, "response_timeout")
		return
	}
	for _, h := range m.alive {
		if tick == h.begin+m.script.try && m.script.try < m.script.route && m.left > 0 {
			m.left--
			h.joined = true
			m.next = tick + 2 // the proxy is told of the time only then
		}
	}
}

// TestHedgingModel plays random scripts on a fake clock: when each attempt begins, which are ended, and what the client
// is told must be what the model says.
func TestHedgingModel(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 0))
	seen := map[string]int{}
	for n := range 400 {
		s := randomHedged(r)
		m := newHedgeModel(s)
		m.play(t)
		if t.Failed() {
			t.Fatalf("script %d: %+v", n, s)
		}
		seen[m.end.detail]++
		seen[fmt.Sprint(m.most, " at a time")]++
	}
	for what, least := range map[string]int{
		"via_upstream": 50, "response_timeout": 20, "upstream_reset_before_response_started{connection_termination}": 20,
		"1 at a time": 50, "2 at a time": 50, "3 at a time": 10, "4 at a time": 2,
	} {
		if seen[what] < least {
			t.Errorf("%s: %d scripts, want %d", what, seen[what], least)
		}
	}
}

func (m *hedgeModel) play(t *testing.T) {
	t.Helper()
	pl := playRequest(t, func(fw *xdsresource.RouteAction) {
		fw.Timeout = limit(m.script.route)
		fw.Hedge = new(bool)
		*fw.Hedge = true
		fw.Retry = &xdsresource.RetryPolicy{
			On: xdsresource.Retry5xx, NumRetries: uint32(m.script.num), PerTryTimeout: limit(m.script.try),
			BackOffBase: unit / 4, BackOffMax: unit / 4, // so that it is over before the next time-out is
		}
	})
	defer pl.stop()
	for tick := 0; !m.over; tick++ {
		fd, begins := pl.take()
		if begins != (m.next == tick) {
			t.Errorf("at %d an attempt begins: %v, and the next is due at %d", tick, begins, m.next)
			return
		}
		if begins {
			m.begin(tick, fd)
		}
		for _, h := range slices.Clone(m.alive) {
			if h.answer.status == 0 || tick != h.begin+h.answer.after || m.over {
				continue
			}
			if h.answer.status < 0 {
				_ = syscall.Shutdown(h.fd, syscall.SHUT_RDWR)
				pl.poll()
			} else {
				pl.answer(h.fd, h.answer.status, "")
			}
			m.answered(tick, h)
		}
		if !m.over {
			pl.pass()
			m.passes(tick)
		}
		if pl.end.over != m.over {
			t.Errorf("at %d the request is over: %v (%s), want %v (%s)", tick, pl.end.over, pl.end.e.detail, m.over, m.end.detail)
			return
		}
	}
	pl.poll()
	if got := pl.status(); got != m.end.status || pl.end.e.detail != m.end.detail {
		t.Errorf("%d %s after %d attempts, want %d %s", got, pl.end.e.detail, m.begun, m.end.status, m.end.detail)
	}
	for _, h := range m.alive {
		if !pl.given(h.fd) {
			t.Errorf("the attempt that began at %d goes on", h.begin)
		}
	}
}
