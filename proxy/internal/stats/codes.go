package stats

import (
	"strconv"
	"sync/atomic"
)

// Codes are the statistics of answers that Envoy makes below a scope when it first needs them:
// upstream_rq_completed, upstream_rq_<c>xx, upstream_rq_<code> and the histogram upstream_rq_time, in
// milliseconds. All workers share one: what they find is a handle, and each counts in its own shard.
type Codes struct {
	scope     Scope
	completed atomic.Uint32
	time      atomic.Uint32
	classes   [6]atomic.Pointer[codeClass]
}

// codeClass is the handles of the codes of one class, and of the class itself.
type codeClass struct {
	class Counter
	codes [100]atomic.Uint32
}

// NewCodes returns the statistics of answers below a scope. It registers none.
func NewCodes(sc Scope) *Codes { return &Codes{scope: sc} }

// Count counts an answer by its status. One that is none, below 100 or above 599, counts nowhere.
func (c *Codes) Count(s *Shard, status int) {
	if status < 100 || status > 599 {
		return
	}
	class := c.classes[status/100].Load()
	if class == nil {
		class = &codeClass{class: c.scope.Counter("upstream_rq_" + strconv.Itoa(status/100) + "xx")}
		c.classes[status/100].Store(class) // another worker's, at worst, has the same handles
	}
	code := Counter(class.codes[status%100].Load())
	if code == 0 {
		code = c.scope.Counter("upstream_rq_" + strconv.Itoa(status))
		class.codes[status%100].Store(uint32(code))
	}
	completed := Counter(c.completed.Load())
	if completed == 0 {
		completed = c.scope.Counter("upstream_rq_completed")
		c.completed.Store(uint32(completed))
	}
	s.Inc(completed)
	s.Inc(class.class)
	s.Inc(code)
}

// Time records how long an answer took, in milliseconds.
func (c *Codes) Time(s *Shard, ms uint64) {
	h := Histogram(c.time.Load())
	if h == 0 {
		h = c.scope.Histogram("upstream_rq_time")
		c.time.Store(uint32(h))
	}
	s.Record(h, ms)
}
