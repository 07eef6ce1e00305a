package watch

import "time"

const (
	// backoffFirst and backoffMost bound the pause after failures, which doubles with each of them.
	backoffFirst = 250 * time.Millisecond
	backoffMost  = 15 * time.Second
	// least is the time between two answers to one query: of something that changes without end only each last state is read.
	least = 100 * time.Millisecond
)

// cursor is where one blocking query stands.
type cursor struct {
	index    uint64 // to ask with; 0: answer at once
	seen     uint64 // of the last answer
	failures int
	answered time.Time
}

// query is what to ask next.
func (c *cursor) query(wait time.Duration) Query { return Query{Index: c.index, Wait: wait} }

// answer notes an answer and returns the pause before the next query, and whether the index went backwards: the servers were restored or
// began anew, and the old index means nothing to them. The next query asks without one then. An index of 0, which would ask so for ever,
// counts as 1.
// https://developer.hashicorp.com/consul/api-docs/features/blocking#implementation-details
func (c *cursor) answer(index uint64, now time.Time) (pause time.Duration, back bool) {
	index = max(index, 1)
	back = index < c.seen
	c.index, c.seen, c.failures = index, index, 0
	if back {
		c.index = 0
	}
	if !c.answered.IsZero() {
		pause = max(0, least-now.Sub(c.answered))
	}
	c.answered = now.Add(pause)
	return pause, back
}

// fail notes a failure and returns the pause before the next query: half of the bound, and up to as much again by dice, a number from 0 to 1.
// The next query asks without an index: servers that begin anew with a lower one would let it wait to its end.
func (c *cursor) fail(dice float64) time.Duration {
	bound := backoffMost
	if c.failures < 6 {
		bound = min(backoffMost, backoffFirst<<c.failures)
	}
	c.failures++
	c.index = 0
	return bound/2 + time.Duration(dice*float64(bound/2))
}
