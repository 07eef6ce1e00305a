package jwtauthn

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/jwt"
)

// held is what is known of a server's keys. It is immutable.
type held struct {
	keys   *jwt.KeySet
	digest [sha256.Size]byte // of the answer that had them
	until  time.Time         // when they are to be fetched anew
}

// fresh reports whether the keys may be used without a fetch; nil is not.
func (h *held) fresh(now time.Time) bool { return h != nil && now.Before(h.until) }

// answer is what came of a fetch.
type answer struct {
	status int
	body   []byte
	err    error // there is no answer
}

// refetchAhead is how much earlier than they expire keys are fetched with async_fetch, Envoy's number.
const refetchAhead = 5 * time.Second

// take is what is held after a fetch, and when the next one is due where they run by themselves. A
// failed fetch keeps what there is: that the server is away makes no good token bad.
func (r *Remote) take(old *held, a answer, now time.Time) (_ *held, wait time.Duration, _ error) {
	keys, err := a.keys(old)
	if err != nil {
		if old != nil {
			old = &held{old.keys, old.digest, now.Add(r.RetryAfter)}
		}
		return old, r.RetryAfter, err
	}
	keys.until = now.Add(r.CacheFor)
	wait = r.CacheFor
	if wait > refetchAhead {
		wait -= refetchAhead
	}
	return keys, max(wait, time.Millisecond), nil
}

// keys reads an answer. The same answer again gives the same set, by which what was verified stays so.
func (a *answer) keys(old *held) (*held, error) {
	switch {
	case a.err != nil:
		return nil, a.err
	case a.status != http.StatusOK:
		return nil, fmt.Errorf("the answer's status is %d", a.status)
	case len(a.body) == 0:
		return nil, errors.New("the answer is empty")
	}
	digest := sha256.Sum256(a.body)
	if old != nil && old.digest == digest {
		return &held{keys: old.keys, digest: digest}, nil
	}
	set, err := jwt.ParseKeys(a.body)
	if err != nil {
		return nil, err
	}
	return &held{keys: set, digest: digest}, nil
}
