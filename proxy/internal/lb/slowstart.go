package lb

import (
	"math"
	"time"
)

// slowing reports whether any of the hosts is still in its slow start, when the schedule must
// go by weights though they are equal. It is asked when hosts change, as in Envoy; a schedule
// made then goes on with full weights.
func (o *Options) slowing(hosts []*Load) bool {
	if o.SlowStart.Window <= 0 {
		return false
	}
	now := o.Now()
	for _, h := range hosts {
		if h.HealthySince != 0 && now-h.HealthySince <= int64(o.SlowStart.Window) {
			return true
		}
	}
	return false
}

// started is the share of its weight that a host gets: it grows from SlowStart.MinWeight to 1
// within the window, on a line for an aggression of 1, and the sooner the greater that is.
func (o *Options) started(h *Load) float64 {
	if h.HealthySince == 0 {
		return 1
	}
	age := time.Duration(o.Now() - h.HealthySince).Truncate(time.Millisecond)
	if age >= o.SlowStart.Window {
		return 1
	}
	part := float64(max(age, time.Millisecond)) / float64(o.SlowStart.Window)
	if a := o.SlowStart.Aggression.Now(); a > 0 && a != 1 {
		part = math.Pow(part, 1/a)
	}
	return max(part, o.SlowStart.MinWeight)
}
