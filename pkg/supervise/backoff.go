package supervise

import "time"

// Policy says how long to wait before a process that ended is started again.
type Policy struct {
	// First is the wait after the first end. Default 100 ms.
	First time.Duration
	// Max bounds the wait, which doubles with each end. Default 10 s.
	Max time.Duration
	// Steady is how long a process has to live before its next end counts as a first one. Default 5 s.
	Steady time.Duration
}

func (p Policy) withDefaults() Policy {
	if p.First <= 0 {
		p.First = 100 * time.Millisecond
	}
	if p.Max <= 0 {
		p.Max = 10 * time.Second
	}
	if p.Steady <= 0 {
		p.Steady = 5 * time.Second
	}
	return p
}

// backoff is one process's place in the policy. The zero value has seen no end yet.
type backoff struct {
	next time.Duration
}

// ended returns the wait before the next start, for a process that lived this long.
func (b *backoff) ended(p Policy, lived time.Duration) time.Duration {
	if b.next == 0 || lived >= p.Steady {
		b.next = p.First
	}
	wait := b.next
	b.next = min(2*b.next, p.Max)
	return wait
}
