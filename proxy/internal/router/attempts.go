package router

import "slices"

// This file keeps the attempts of a request: those under way, and those to be used again.

// takeAttempt returns an attempt that is the request's newest.
func (r *router) takeAttempt() *attempt {
	var a *attempt
	if n := len(r.spare); n > 0 {
		a = r.spare[n-1]
		r.spare = r.spare[:n-1]
	} else {
		a = newAttempt(r)
	}
	r.attempts = append(r.attempts, a)
	r.cur = a
	return a
}

// forget takes back an attempt that was dropped.
func (r *router) forget(a *attempt) {
	if r.cur == a {
		r.cur = nil
	}
	if i := slices.Index(r.attempts, a); i >= 0 {
		r.attempts = slices.Delete(r.attempts, i, i+1)
		r.spare = append(r.spare, a)
	}
}

// dropAttempts drops all, and what the next one waits for.
func (r *router) dropAttempts() {
	if drop := r.dropName; drop != nil {
		r.dropName = nil
		drop()
	}
	for len(r.attempts) > 0 {
		r.attempts[len(r.attempts)-1].drop()
	}
}

// choose makes an attempt's answer the request's: the others are dropped, and no more are made.
func (r *router) choose(a *attempt) {
	r.cur, a.stage = a, answered
	if len(r.attempts) == 1 && !r.pausing && !r.hedged {
		return
	}
	if r.pausing {
		r.pausing = false
		r.loop.Disarm(&r.backOffTimer)
	}
	for i := len(r.attempts) - 1; i >= 0; i-- {
		if r.attempts[i] != a {
			r.attempts[i].drop()
		}
	}
	a.describe(r.s.Info())
}

// hopes reports whether another attempt than a may still bring an answer.
func (r *router) hopes(a *attempt) bool {
	return r.pausing || len(r.attempts) > 1 || len(r.attempts) == 1 && r.attempts[0] != a
}
