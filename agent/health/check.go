package health

import (
	"context"
	"time"
)

// readyPeriod is how often the proxy is asked whether it serves: it is told to go by its admin API, and nobody should be sent to it any more.
const readyPeriod = time.Second

// Check asks until ctx ends and calls report with each change: whether the workload is well, and if not, why. The workload is well while its proxy
// serves (ready returns nil) and its application is, by the probe's thresholds. Nothing is reported before the workload is well for the first time;
// without a probe (nil) it is taken to be so from the start. report is called on Check's goroutine.
func Check(ctx context.Context, p *Probe, t Targets, ready func(context.Context) error, report func(healthy bool, why string)) {
	check(ctx, p, func(ctx context.Context) error { return p.Ask(ctx, t) }, ready, report)
}

// check is Check with the question as a function.
func check(ctx context.Context, p *Probe, ask, ready func(context.Context) error, report func(healthy bool, why string)) {
	c := checker{probe: p, said: p == nil, app: p == nil}
	begin := time.Now()
	look := time.NewTicker(readyPeriod)
	defer look.Stop()
	var due <-chan time.Time // of the next question; nil while one is being asked
	answers := make(chan error, 1)
	asking := false
	var timer *time.Timer
	if p != nil {
		timer = time.NewTimer(seconds(p.InitialDelaySeconds, 0))
		defer timer.Stop()
		due = timer.C
	}
	defer func() {
		if asking {
			<-answers // it ends with ctx
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			asked, cancel := context.WithTimeout(ctx, readyPeriod)
			c.proxy = ready(asked)
			cancel()
			if ctx.Err() != nil {
				return
			}
		case <-due:
			begin, asking = time.Now(), true
			go func() {
				asked, cancel := context.WithTimeout(ctx, seconds(p.TimeoutSeconds, 1))
				defer cancel()
				answers <- ask(asked)
			}()
		case err := <-answers:
			asking = false
			if ctx.Err() != nil {
				return
			}
			c.answer(err)
			timer.Reset(max(seconds(p.PeriodSeconds, 10)-time.Since(begin), 0))
		}
		if healthy, why := c.state(); healthy != c.said {
			c.said = healthy
			report(healthy, why)
		}
	}
}

// checker holds what has been found out.
type checker struct {
	probe *Probe
	proxy error // of its last answer

	app       bool // the application is well
	why       error
	good, bad int // answers in a row
	said      bool
}

// answer counts one of the application's.
func (c *checker) answer(err error) {
	if err == nil {
		c.good, c.bad = c.good+1, 0
		if c.good >= threshold(c.probe.SuccessThreshold) {
			c.app, c.why = true, nil
		}
		return
	}
	c.good, c.bad, c.why = 0, c.bad+1, err
	if c.bad >= threshold(c.probe.FailureThreshold) {
		c.app = false
	}
}

func (c *checker) state() (healthy bool, why string) {
	switch {
	case c.proxy != nil:
		return false, "the proxy does not serve: " + c.proxy.Error()
	case !c.app && c.why != nil:
		return false, c.why.Error()
	}
	return c.app, ""
}
