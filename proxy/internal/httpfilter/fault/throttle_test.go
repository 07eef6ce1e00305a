package fault

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// passed is a stream that notes what goes on.
type passed struct {
	httpfilter.Stream
	bytes int
	held  string // what the filter chain shows to the filter when it goes on
	done  bool
	t     *throttle
}

func (p *passed) InjectResponse(b []byte, _ bool) { p.bytes += len(b) }

func (p *passed) ContinueResponse() {
	rest := p.held
	p.held, p.done = "", rest == ""
	if rest != "" {
		p.data(rest)
	}
}

// data gives the filter a piece of body as the chain does.
func (p *passed) data(body string) {
	d := httpfilter.Data{Bytes: []byte(body)}
	if p.t.OnResponseData(p, &d, false) == httpfilter.Continue {
		p.done = true
	}
	p.bytes += len(d.Bytes)
}

// TestThrottle slows bodies down on a fake clock and compares what has passed after each step.
func TestThrottle(t *testing.T) {
	const step = tick + time.Millisecond // timers are rounded up
	for _, test := range []struct {
		name   string
		rate   float64       // bytes a second
		idle   time.Duration // before the body comes
		pieces []string      // the first is shown to the filter at once, the second when it goes on
		want   []int         // bytes that have passed at once, after one step, two...
	}{
		{"a tick's worth", 1000, 0, []string{strings.Repeat("x", 50)}, []int{50}},
		{"more", 1000, 0, []string{strings.Repeat("x", 200)}, []int{50, 101, 152, 200}},
		{"fractions add up", 1010, 0, []string{strings.Repeat("x", 205)}, []int{50, 102, 153, 205}},
		{"what was not used is kept", 1000, 100 * time.Millisecond, []string{strings.Repeat("x", 200)}, []int{150, 200}},
		{"but no more than a second's", 1000, time.Hour, []string{strings.Repeat("x", 1100)}, []int{1000, 1051, 1100}},
		{"what has waited follows", 1000, 0, []string{strings.Repeat("x", 60), strings.Repeat("y", 60)}, []int{50, 101, 120}},
		{"slower than a byte a tick", 10, 0, []string{"xy"}, []int{0, 1, 1, 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			loop, err := eventloop.New(0, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer loop.Close()
			now := time.Now()
			loop.SetClock(func() time.Time { return now })
			poll := func() {
				t.Helper()
				if err := loop.Poll(); err != nil {
					t.Fatal(err)
				}
			}
			poll()
			var th throttle
			th.init(loop)
			p := &passed{t: &th}
			th.begin(p, test.rate)
			now = now.Add(test.idle)
			poll()
			if len(test.pieces) > 1 {
				p.held = test.pieces[1]
			}
			p.data(test.pieces[0])
			for i, want := range test.want {
				if i > 0 {
					now = now.Add(step)
					poll()
				}
				if p.bytes != want || p.done != (i == len(test.want)-1) {
					t.Fatalf("after %d steps %d bytes have passed (done: %v), want %d", i, p.bytes, p.done, want)
				}
			}
			th.end()
			if th.next.Armed() || th.piece.Cap() != 0 {
				t.Error("something is left")
			}
		})
	}
}

// TestThrottleEnds: a stream that ends while something is held back leaves nothing behind.
func TestThrottleEnds(t *testing.T) {
	loop, err := eventloop.New(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	var th throttle
	th.init(loop)
	p := &passed{t: &th}
	th.begin(p, 1024)
	p.data(strings.Repeat("x", 1000))
	th.end()
	if th.next.Armed() || loop.Buffers().InUse() != 0 {
		t.Errorf("armed %v, %d bytes of buffers in use", th.next.Armed(), loop.Buffers().InUse())
	}
}
