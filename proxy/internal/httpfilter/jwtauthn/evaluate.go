package jwtauthn

import "github.com/lateen-mesh/lateen/proxy/internal/jwt"

// evaluate evaluates a requirement as far as it can: false while a token that may decide it waits for
// keys. It is called again when that has come; leaves that are over are not asked a second time.
func (f *filter) evaluate(q *requirement) (jwt.Status, bool) {
	switch q.kind {
	case leaf:
		r := &f.runs[q.index]
		if r.state == idle {
			r.f, r.req = f, q
			r.start()
		}
		return r.status, r.state == over
	case anyChild:
		return f.evaluateAny(q)
	case allChildren:
		decided := true
		for _, c := range q.children {
			status, ok := f.evaluate(c)
			if ok && status != jwt.OK {
				return status, true
			}
			decided = decided && ok
		}
		return jwt.OK, decided
	}
	return jwt.OK, true
}

// evaluateAny: of several failures the answer is about the most telling one. That a token is missing,
// or another issuer's, only says that the child was not meant.
func (f *filter) evaluateAny(q *requirement) (jwt.Status, bool) {
	worst, decided := jwt.Missing, true
	for _, c := range q.children {
		status, ok := f.evaluate(c)
		if ok && status == jwt.OK {
			return jwt.OK, true
		}
		if status != jwt.Missing && status != jwt.UnknownIssuer || worst == jwt.Missing {
			worst = status
		}
		decided = decided && ok
	}
	if q.allowFailed || q.allowMissing && worst == jwt.Missing {
		worst = jwt.OK
	}
	return worst, decided
}
