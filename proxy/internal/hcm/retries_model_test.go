package hcm_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// retries is one request to a host that fails, and the policy it is repeated by. Times are in units.
type retries struct {
	num       int      // num_retries
	base, max int      // back-off
	try       int      // per_try_timeout, 0: none
	route     int      // the route's timeout, 0: none
	answers   []failed // of the attempts, in order; the last one again for more of them
}

// failed is how an attempt ends.
type failed struct {
	status int // 0: no answer, so that only a time-out ends it
	after  int // from the attempt's begin
	reset  int // seconds that the answer asks to wait, 0: it does not
}

func randomRetries(r *rand.Rand) retries {
	s := retries{num: r.IntN(5), base: 1 + r.IntN(8)}
	s.max = s.base + r.IntN(30)
	if r.IntN(3) == 0 {
		s.route = 5 + r.IntN(60)
	}
	for range 1 + r.IntN(5) {
		a := failed{status: 503, after: 1 + r.IntN(6)}
		switch r.IntN(8) {
		case 0, 1:
			a.status = 0
		case 2, 3:
			a.reset = 1 + r.IntN(3)
		case 4:
			a.status = 200
		}
		s.answers = append(s.answers, a)
	}
	for _, a := range s.answers {
		if a.status == 0 && s.try == 0 {
			s.try = 1 + r.IntN(8)
		}
	}
	return s
}

// TestRetryModel plays random scripts on a fake clock: how many attempts there are, when each begins, and what the
// client is told in the end must be what the documentation of retry policies says. The pauses are random, so the
// model has bounds for them: below base * (2^n - 1) and the maximum; or from what the host asks for to half as
// much again.
func TestRetryModel(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 0))
	seen := map[string]int{}
	long := 0 // pauses beyond the first ceiling: the back-off grows
	for n := range 400 {
		s := randomRetries(r)
		detail, grown := s.play(t)
		if t.Failed() {
			t.Fatalf("script %d: %+v", n, s)
		}
		seen[detail]++
		long += grown
	}
	for _, d := range []string{"via_upstream", "response_timeout", "upstream_per_try_timeout"} {
		if seen[d] < 10 {
			t.Errorf("only %d scripts ended by %s", seen[d], d)
		}
	}
	if long < 20 {
		t.Errorf("only %d pauses were longer than the first may be", long)
	}
}

// attempt is one that the host has seen.
type attempt struct {
	fd     int
	begin  int
	answer failed
}

func (s retries) play(t *testing.T) (detail string, grown int) {
	t.Helper()
	pl := playRequest(t, func(fw *xdsresource.RouteAction) {
		fw.Timeout = limit(s.route)
		fw.Retry = &xdsresource.RetryPolicy{
			On: xdsresource.Retry5xx, NumRetries: uint32(s.num), PerTryTimeout: limit(s.try),
			BackOffBase: time.Duration(s.base) * unit, BackOffMax: time.Duration(s.max) * unit,
			ResetHeaders: []xdsresource.ResetHeader{{Name: "x-reset"}}, ResetMax: time.Minute,
		}
	})
	defer pl.stop()
	end := pl.end
	var all []attempt
	earliest, latest := 0, 0 // when the next attempt may begin; latest -1: none may
	try := s.try
	if s.route > 0 && try >= s.route {
		try = 0 // a try cannot outlast the request
	}
	want := ends{status: -1} // not yet known
	// failedAt says what follows when an attempt has failed.
	failedAt := func(tick int, reset int, e ends) {
		n := len(all) // of attempts
		switch ceiling := min(s.base*(1<<n-1), s.max); {
		case n > s.num:
			want, latest = e, -1
		case reset > 0:
			earliest, latest = tick+10*reset, tick+15*reset+1
		default:
			earliest, latest = tick, tick+ceiling+1
		}
	}
	over := 0
	for tick := 0; !end.over; tick++ {
		if tick > 1000 {
			t.Fatal("it does not end")
		}
		if s.route > 0 && tick > s.route && want.status < 0 {
			want = ends{status: 504, detail: "response_timeout"}
			break // reported below: the stream ought to be over
		}
		if c, ok := pl.take(); ok {
			if latest < 0 || tick < earliest || tick > latest {
				t.Errorf("attempt %d begins at %d, not from %d to %d", len(all)+1, tick, earliest, latest)
			}
			if n := len(all); n > 0 && tick-over > s.base+1 && all[n-1].answer.reset == 0 {
				grown++
			}
			all = append(all, attempt{c, tick, s.answers[min(len(all), len(s.answers)-1)]})
			latest = -1
		}
		if n := len(all); n > 0 && want.status < 0 && latest < 0 {
			a := all[n-1]
			switch {
			case a.answer.status != 0 && tick == a.begin+a.answer.after && (try == 0 || a.answer.after <= try):
				reset := ""
				if a.answer.reset > 0 {
					reset = fmt.Sprintf("x-reset: %d\r\n", a.answer.reset)
				}
				pl.answer(a.fd, a.answer.status, reset)
				over = tick
				if a.answer.status == 200 {
					want = ends{status: 200, detail: "via_upstream"}
				} else {
					failedAt(tick, a.answer.reset, ends{status: a.answer.status, detail: "via_upstream"})
				}
			case try > 0 && tick == a.begin+try+1:
				over = tick
				failedAt(tick, 0, ends{status: 504, detail: "upstream_per_try_timeout"})
			}
		}
		if !end.over {
			pl.pass()
			// Time-outs fall between two ticks.
			if n := len(all); n > 0 && try > 0 && want.status < 0 && latest < 0 && tick+1 == all[n-1].begin+try+1 && n > s.num {
				want = ends{status: 504, detail: "upstream_per_try_timeout"}
			}
		}
		if s.route > 0 && tick == s.route && end.over && end.e.detail == "response_timeout" {
			want = ends{status: 504, detail: "response_timeout"}
		}
	}
	pl.poll()
	if !end.over {
		t.Errorf("at %v nothing has ended the request", want)
		return "", 0
	}
	if got := pl.status(); end.e.detail != want.detail || got != want.status {
		t.Errorf("%d %s after %d attempts, want %d %s", got, end.e.detail, len(all), want.status, want.detail)
	}
	return end.e.detail, grown
}
