package cluster

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// bench is a detector with its hosts, a clock and what it counted.
type bench struct {
	*detector
	hosts    []*Host
	locals   []*LocalHost
	now      time.Time
	counts   map[Stat]int
	notified []cause
	roll     uint64
}

func newBench(n int, cfg xdsresource.OutlierDetection) *bench {
	b := &bench{now: time.Unix(1e9, 0), counts: make(map[Stat]int)}
	b.detector = &detector{
		cfg: &cfg,
		notify: func(h *Host, why cause) {
			b.notified = append(b.notified, why)
			b.onConsecutive(b.hosts, h, why, b.now)
		},
		count:  func(s Stat) { b.counts[s]++ },
		gauge:  func(s Stat, v int64) { b.counts[s] = int(v) },
		random: func(n uint64) uint64 { return min(b.roll, n-1) },
	}
	l := &Local{detector: b.detector}
	for i := range n {
		h := &Host{Name: fmt.Sprint(i), outlier: outlier{history: newHistory()}}
		b.hosts = append(b.hosts, h)
		b.locals = append(b.locals, &LocalHost{Host: h, Local: l})
	}
	return b
}

// defaults are Envoy's, but for the share of hosts that may be ejected.
func defaults() xdsresource.OutlierDetection {
	return xdsresource.OutlierDetection{
		Consecutive5xx: 5, ConsecutiveGatewayFailure: 5, ConsecutiveLocalFailure: 5,
		EnforcingConsecutive5xx: 100, EnforcingConsecutiveLocalFailure: 100,
		Interval: 10 * time.Second, BaseEjectionTime: 30 * time.Second, MaxEjectionTime: 300 * time.Second,
		MaxEjectionPercent: 100, EnforcingSuccessRate: 100, SuccessRateMinimumHosts: 5,
		SuccessRateRequestVolume: 100, SuccessRateStdevFactor: 1900, EnforcingLocalSuccessRate: 100,
		FailurePercentageThreshold: 85, FailurePercentageMinimumHosts: 5, FailurePercentageRequestVolume: 50,
	}
}

func (b *bench) codes(host int, codes ...int) {
	for _, c := range codes {
		b.locals[host].OnResult(Result{Code: c})
	}
}

// tick lets intervals pass, sweeping at each.
func (b *bench) tick(n int) {
	for range n {
		b.now = b.now.Add(b.cfg.Interval)
		b.sweep(b.hosts, b.now)
		b.calm(b.hosts, b.now)
	}
}

func TestConsecutive5xx(t *testing.T) {
	b := newBench(2, defaults())
	b.codes(0, 500, 500, 500, 500, 200, 500, 500, 500, 500)
	if b.hosts[0].Ejected() {
		t.Fatal("a success between does not reset the count")
	}
	b.codes(0, 500)
	if !b.hosts[0].Ejected() || b.hosts[0].Healthy() {
		t.Fatal("not ejected after five")
	}
	if b.counts[EjectionsEnforcedConsecutive5xx] != 1 || b.counts[EjectionsEnforcedTotal] != 1 || b.counts[EjectionsActive] != 1 {
		t.Errorf("counts %v", b.counts)
	}
	// 30 s: back at the third sweep, not before.
	b.tick(2)
	if !b.hosts[0].Ejected() {
		t.Error("back too early")
	}
	b.tick(1)
	if b.hosts[0].Ejected() || b.counts[EjectionsActive] != 0 {
		t.Error("not back after the base time")
	}
	// The second time it is out twice as long.
	b.codes(0, 500, 500, 500, 500, 500)
	b.tick(5)
	if !b.hosts[0].Ejected() {
		t.Error("the second ejection is not longer")
	}
	b.tick(1)
	if b.hosts[0].Ejected() {
		t.Error("the second ejection is too long")
	}
	// Two quiet intervals take the multiplier back.
	b.tick(2)
	b.codes(0, 500, 500, 500, 500, 500)
	b.tick(3)
	if b.hosts[0].Ejected() {
		t.Error("quiet intervals did not lower the multiplier")
	}
}

func TestEjectionTimeIsBounded(t *testing.T) {
	c := defaults()
	c.MaxEjectionTime = 60 * time.Second
	b := newBench(1, c)
	for range 5 {
		b.codes(0, 500, 500, 500, 500, 500)
		for n := 0; b.hosts[0].Ejected(); n++ {
			if n > 6 {
				t.Fatal("ejected for longer than the maximum")
			}
			b.tick(1)
		}
	}
	if b.hosts[0].ejections != 5 {
		t.Errorf("%d ejections", b.hosts[0].ejections)
	}
}

func TestGatewayAndLocalFailures(t *testing.T) {
	c := defaults()
	c.Consecutive5xx, c.ConsecutiveGatewayFailure, c.EnforcingConsecutiveGatewayFailure = 100, 3, 100
	b := newBench(1, c)
	b.codes(0, 503, 502, 500, 504, 503)
	if b.hosts[0].Ejected() {
		t.Fatal("a 500 is no gateway failure and resets their count")
	}
	b.codes(0, 502)
	if !b.hosts[0].Ejected() {
		t.Fatal("not ejected after three gateway failures")
	}

	// Connect failures count as 503 unless they are split.
	c = defaults()
	b = newBench(1, c)
	for range 5 {
		b.locals[0].OnResult(Result{Kind: ResultConnectFailed})
	}
	if !b.hosts[0].Ejected() || b.counts[EjectionsEnforcedConsecutive5xx] != 1 {
		t.Error("connect failures do not count as 5xx")
	}
	c.SplitExternalLocal, c.ConsecutiveLocalFailure = true, 2
	b = newBench(1, c)
	b.locals[0].OnResult(Result{Kind: ResultConnectFailed})
	b.locals[0].OnResult(Result{Kind: ResultReady}) // the host was reached
	b.codes(0, 500)
	b.locals[0].OnResult(Result{Kind: ResultTimeout})
	if b.hosts[0].Ejected() {
		t.Error("a connection does not reset local failures")
	}
	b.locals[0].OnResult(Result{Kind: ResultReset})
	if !b.hosts[0].Ejected() || b.counts[EjectionsEnforcedConsecutiveLocal] != 1 {
		t.Error("local failures do not eject")
	}
}

func TestMaxEjectionPercent(t *testing.T) {
	for _, tt := range []struct {
		hosts, percent, want int
		always               bool
	}{
		{10, 10, 1, false}, {10, 19, 1, false}, {10, 50, 5, false}, {2, 10, 0, false}, {2, 10, 1, true}, {3, 100, 3, false}, {4, 0, 0, false},
	} {
		c := defaults()
		c.MaxEjectionPercent, c.AlwaysEjectOneHost = uint32(tt.percent), tt.always
		b := newBench(tt.hosts, c)
		for i := range tt.hosts {
			b.codes(i, 500, 500, 500, 500, 500)
		}
		if got := ejected(b.hosts); got != tt.want {
			t.Errorf("%+v: %d ejected", tt, got)
		}
		if b.counts[EjectionsOverflow] != tt.hosts-tt.want {
			t.Errorf("%+v: overflow %d", tt, b.counts[EjectionsOverflow])
		}
	}
}

func TestEnforcing(t *testing.T) {
	c := defaults()
	c.EnforcingConsecutive5xx = 30
	b := newBench(1, c)
	b.roll = 30
	b.codes(0, 500, 500, 500, 500, 500)
	if b.hosts[0].Ejected() || b.counts[EjectionsDetectedConsecutive5xx] != 1 {
		t.Error("enforced at a roll outside of the percentage")
	}
	b.roll = 29
	b.codes(0, 500, 500, 500, 500, 500)
	if !b.hosts[0].Ejected() {
		t.Error("not enforced within the percentage")
	}
}

func TestSuccessRate(t *testing.T) {
	b := newBench(6, defaults())
	all := make(map[*Host]rates)
	for _, h := range b.hosts[:5] {
		all[h] = rates{{200, 199}}
	}
	all[b.hosts[5]] = rates{{200, 100}}
	if !b.judge(b.hosts, all, b.now) || !b.hosts[5].Ejected() || ejected(b.hosts) != 1 {
		t.Error("the outlier was not ejected, or more than it")
	}
	if b.hosts[5].successRates[external] != 50 {
		t.Errorf("success rate %v", b.hosts[5].successRates)
	}
	// Too few hosts with enough requests: nobody.
	b = newBench(6, defaults())
	few := make(map[*Host]rates)
	for i, h := range b.hosts {
		few[h] = rates{{99, 99}}
		if i < 4 {
			few[h] = rates{{100, 100}}
		}
	}
	few[b.hosts[0]] = rates{{100, 0}}
	if b.judge(b.hosts, few, b.now) {
		t.Error("judged on too few hosts")
	}
}

// TestJudgeModel: random rates of both origins against the documentation's rules, one cause
// at a time.
func TestJudgeModel(t *testing.T) {
	kinds := []struct {
		origin             origin
		percentage         bool
		detected, enforced Stat
		set                func(*xdsresource.OutlierDetection)
	}{
		{external, false, EjectionsDetectedSuccessRate, EjectionsEnforcedSuccessRate, func(c *xdsresource.OutlierDetection) { c.EnforcingSuccessRate = 100 }},
		{localOrigin, false, EjectionsDetectedLocalSuccessRate, EjectionsEnforcedLocalSuccessRate, func(c *xdsresource.OutlierDetection) { c.EnforcingLocalSuccessRate = 100 }},
		{external, true, EjectionsDetectedFailurePercentage, EjectionsEnforcedFailurePercentage, func(c *xdsresource.OutlierDetection) { c.EnforcingFailurePercentage = 100 }},
		{localOrigin, true, EjectionsDetectedLocalFailurePercentage, EjectionsEnforcedLocalFailurePercentage, func(c *xdsresource.OutlierDetection) { c.EnforcingLocalFailurePercentage = 100 }},
	}
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 8))
		k := kinds[seed%4]
		c := defaults()
		c.EnforcingSuccessRate, c.EnforcingLocalSuccessRate = 0, 0
		k.set(&c)
		c.SplitExternalLocal = true
		c.SuccessRateMinimumHosts, c.FailurePercentageMinimumHosts = r.Uint32N(6), r.Uint32N(6)
		c.SuccessRateRequestVolume, c.FailurePercentageRequestVolume = 1+r.Uint32N(8), 1+r.Uint32N(8)
		c.FailurePercentageThreshold, c.SuccessRateStdevFactor = r.Uint32N(101), 500+r.Uint32N(2000)
		b := newBench(1+r.IntN(8), c)
		all := map[*Host]rates{}
		volume, least := c.SuccessRateRequestVolume, int(c.SuccessRateMinimumHosts)
		if k.percentage {
			volume, least = c.FailurePercentageRequestVolume, int(c.FailurePercentageMinimumHosts)
		}
		var part []float64
		for i, h := range b.hosts {
			n := r.Uint32N(12)
			ok := r.Uint32N(n + 1)
			kind := ResultReady
			for j := range n { // through the worker's side, as it happens
				switch {
				case k.origin == external:
					b.locals[i].OnResult(Result{Code: map[bool]int{true: 200, false: 500}[j < ok]})
				case j < ok:
					b.locals[i].OnResult(Result{Kind: kind})
				default:
					b.locals[i].OnResult(Result{Kind: ResultConnectFailed})
				}
			}
			all[h] = b.locals[i].rates
			if n >= volume && n > 0 {
				part = append(part, 100*float64(ok)/float64(n))
			}
			h.setFlag(failedOutlierCheck, false) // runs of failures are another test's
		}
		clear(b.counts)
		var mean, dev float64
		for _, p := range part {
			mean += p / float64(len(part))
		}
		for _, p := range part {
			dev += (p - mean) * (p - mean) / float64(len(part))
		}
		limit := mean - math.Sqrt(dev)*float64(c.SuccessRateStdevFactor)/1000
		skip := len(b.hosts) < int(c.SuccessRateMinimumHosts) && len(b.hosts) < int(c.FailurePercentageMinimumHosts)
		near := false // too near to the limit for floating point to agree on
		want := 0
		for _, p := range part {
			bad := p < limit
			if k.percentage {
				bad = 100-p >= float64(c.FailurePercentageThreshold)
			}
			near = near || !k.percentage && math.Abs(p-limit) < 1e-9
			if bad && !skip && len(part) >= least {
				want++
			}
		}
		b.judge(b.hosts, all, b.now)
		if !near && (ejected(b.hosts) != want || b.counts[k.enforced] != want || b.counts[k.detected] != want) {
			t.Fatalf("seed %d: %d ejected, %d detected and %d enforced; want %d (%+v of %v)", seed, ejected(b.hosts), b.counts[k.detected], b.counts[k.enforced], want, c, part)
		}
	}
}

func TestEjectionJitter(t *testing.T) {
	c := defaults()
	c.MaxEjectionTimeJitter = 15 * time.Second
	b := newBench(1, c)
	b.roll = 12000
	b.codes(0, 500, 500, 500, 500, 500)
	b.tick(4) // 40 s of 42
	if !b.hosts[0].Ejected() {
		t.Fatal("back without the jitter")
	}
	b.tick(1)
	if b.hosts[0].Ejected() {
		t.Error("not back after the jitter")
	}
}

// TestDetectorModel runs random results and ticks against a plain model of one cause.
func TestDetectorModel(t *testing.T) {
	type model struct {
		run     int
		out     bool
		until   time.Duration // from the start of the ejection
		since   time.Time
		backoff int
	}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := defaults()
		c.Consecutive5xx = 1 + r.Uint32N(4)
		c.BaseEjectionTime = time.Duration(1+r.IntN(40)) * time.Second
		c.MaxEjectionTime = max(c.BaseEjectionTime, time.Duration(60+r.IntN(60))*time.Second)
		c.MaxEjectionPercent = uint32(r.IntN(101))
		b := newBench(1+r.IntN(6), c)
		ms := make([]model, len(b.hosts))
		for range 400 {
			if r.IntN(6) == 0 {
				b.tick(1)
				for i := range ms {
					m := &ms[i]
					if !m.out {
						m.backoff = max(m.backoff-1, 0)
					} else if b.now.Sub(m.since) >= m.until {
						m.out, m.run = false, 0
					}
				}
			} else {
				i := r.IntN(len(ms))
				code := 200 + 300*r.IntN(2)
				b.codes(i, code)
				m := &ms[i]
				if code == 200 {
					m.run = 0
				} else if m.run++; m.run == int(c.Consecutive5xx) {
					m.run = 0
					out := 0
					for _, x := range ms {
						if x.out {
							out++
						}
					}
					if !m.out && 100*(out+1) <= int(c.MaxEjectionPercent)*len(ms) {
						if time.Duration(m.backoff)*c.BaseEjectionTime < c.MaxEjectionTime+c.BaseEjectionTime {
							m.backoff++
						}
						m.out, m.since = true, b.now
						m.until = min(time.Duration(m.backoff)*c.BaseEjectionTime, c.MaxEjectionTime)
					}
				}
			}
			for i := range ms {
				if b.hosts[i].Ejected() != ms[i].out {
					t.Fatalf("seed %d: host %d ejected=%v, model %v", seed, i, b.hosts[i].Ejected(), ms[i].out)
				}
			}
		}
	}
}

// TestManagerEjects is the whole way: results on a worker, a sweep in Run, picks again.
func TestManagerEjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, nil)
		c := static("c", "10.0.0.1:80", "10.0.0.2:80")
		o := defaults()
		c.Outlier = &o
		m.update(t, c)
		l := m.Local(0).Get("c")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = m.Run(ctx) }()
		synctest.Wait()
		for h, lh := range l.hosts {
			if h.Name == "10.0.0.1:80" {
				for range 5 {
					lh.OnResult(Result{Code: 503})
				}
			}
		}
		synctest.Wait()
		m.run()
		if got := picks(l, 10); got["10.0.0.2:80"] != 10 {
			t.Errorf("after the ejection picks %v", got)
		}
		if l.Pick(&lb.Context{}) == nil {
			t.Error("nobody left")
		}
		// At most one interval after the base time.
		advance(41 * time.Second)
		m.run()
		if got := picks(l, 10); got["10.0.0.1:80"] != 5 {
			t.Errorf("after its time picks %v", got)
		}
		cancel()
		<-done
	})
}

// TestOutlierEvents: the event log has a line for each ejection, enforced or not, and for each
// return, in the form of Envoy's.
func TestOutlierEvents(t *testing.T) {
	c := defaults()
	c.ConsecutiveGatewayFailure, c.Consecutive5xx = 2, 3
	b := newBench(6, c)
	var lines []string
	b.event = func(e *outlierEvent) { lines = append(lines, string(e.line("c"))) }
	b.codes(0, 503, 503, 503)
	b.tick(3)
	all := map[*Host]rates{}
	for _, h := range b.hosts {
		all[h] = rates{{200, 200}}
	}
	all[b.hosts[5]] = rates{{200, 20}}
	b.judge(b.hosts, all, b.now)
	want := []string{
		`{"action":"EJECT","cluster_name":"c","eject_consecutive_event":{},"enforced":false,"num_ejections":0,"timestamp":"2001-09-09T01:46:40.000Z","type":"CONSECUTIVE_GATEWAY_FAILURE","upstream_url":"0"}`,
		`{"action":"EJECT","cluster_name":"c","eject_consecutive_event":{},"enforced":true,"num_ejections":1,"timestamp":"2001-09-09T01:46:40.000Z","type":"CONSECUTIVE_5XX","upstream_url":"0"}`,
		`{"action":"UNEJECT","cluster_name":"c","enforced":false,"num_ejections":1,"secs_since_last_action":"30","timestamp":"2001-09-09T01:47:10.000Z","type":"CONSECUTIVE_5XX","upstream_url":"0"}`,
		`{"action":"EJECT","cluster_name":"c","eject_success_rate_event":{"cluster_average_success_rate":85,"cluster_success_rate_ejection_threshold":21,"host_success_rate":10},"enforced":true,"num_ejections":1,"timestamp":"2001-09-09T01:47:10.000Z","type":"SUCCESS_RATE","upstream_url":"5"}`,
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for i := range want {
		if lines[i] != want[i]+"\n" {
			t.Errorf("line %d is\n%swant\n%s", i, lines[i], want[i])
		}
	}
}

// TestErrorStatuses: which responses are errors is the configuration's to say. What is one below 500 is none of a gateway's.
func TestErrorStatuses(t *testing.T) {
	cfg := defaults()
	cfg.Consecutive5xx, cfg.ConsecutiveGatewayFailure, cfg.EnforcingConsecutiveGatewayFailure = 3, 2, 100
	cfg.Errors = &xdsresource.Statuses{}
	for _, code := range []int{429, 503} {
		cfg.Errors[code-100] = true
	}
	b := newBench(4, cfg)
	b.codes(0, 429, 429)
	b.codes(1, 500, 500, 500, 500)
	b.codes(2, 429, 500, 429, 429)
	b.codes(3, 503, 503)
	for i, want := range []bool{false, false, false, true} {
		if got := b.hosts[i].Ejected(); got != want {
			t.Errorf("host %d is out: %v, want %v", i, got, want)
		}
	}
	b.codes(0, 429)
	if !b.hosts[0].Ejected() {
		t.Error("three in a row, and the host is still in")
	}
}
