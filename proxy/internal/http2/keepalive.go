package http2

import "time"

// Keepalive is when a connection is asked for a sign of life by PING (Envoy's connection_keepalive). Intervals of 0 do not
// apply.
type Keepalive struct {
	Interval time.Duration // between two PINGs
	Jitter   float64       // percent of Interval that is added at most
	// IdleInterval is after how long without traffic a new stream is preceded by a PING.
	IdleInterval time.Duration
	Timeout      time.Duration // for the answer
}

// keepalive is how far a connection is with it.
type keepalive struct {
	nextPing int64 // 0: none
	deadline int64 // for the answer that is awaited; 0: none
	lastRead int64 // when bytes came last
	waiting  uint64
}

// Due is when Tick has to be called, 0 for not at all.
func (c *Conn) Due() int64 {
	at := c.nextFlush()
	for _, t := range [...]int64{c.alive.nextPing, c.alive.deadline} {
		if t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	return at
}

// Tick does what is due: gives up detached streams whose peer does not take their last bytes, and asks the peer for a sign
// of life. dead: the peer has not given one in time, and the connection has to be closed. random is for the jitter.
func (c *Conn) Tick(now int64, random uint64) (dead bool) {
	c.now = now
	c.expire(now)
	k := c.cfg.Keepalive
	if k == nil {
		return false
	}
	a := &c.alive
	if a.deadline != 0 && a.deadline <= now {
		a.deadline, a.nextPing = 0, 0
		c.h.Count(StatKeepaliveTimeout, 1)
		return true
	}
	if k.Interval > 0 && a.nextPing <= now {
		if a.nextPing != 0 {
			c.askAlive()
		}
		jitter := float64(k.Interval) * k.Jitter / 100 * float64(random>>11) / (1 << 53)
		a.nextPing = now + int64(k.Interval) + int64(jitter)
	}
	return false
}

// askAlive sends a PING unless one is under way.
func (c *Conn) askAlive() {
	a := &c.alive
	if a.deadline != 0 {
		return
	}
	a.waiting++
	a.deadline = c.now + int64(c.cfg.Keepalive.Timeout)
	c.Ping(a.waiting)
}

// pong takes the answer to a PING of ours.
func (c *Conn) pong(data uint64) {
	if c.alive.deadline != 0 && data == c.alive.waiting {
		c.alive.deadline = 0
		return
	}
	c.h.OnPong(data)
}

// askBeforeStream sends a PING ahead of a stream on a connection that has been silent.
func (c *Conn) askBeforeStream() {
	if k := c.cfg.Keepalive; k != nil && k.IdleInterval > 0 && c.now-c.alive.lastRead >= int64(k.IdleInterval) {
		c.askAlive()
	}
}
