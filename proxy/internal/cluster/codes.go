package cluster

import (
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// originCodes are counters by response code, made when a code is first seen: by whom the
// request came (all, external, internal) and of retried attempts.
type originCodes [4]*[600]stats.Counter

const (
	codesAll = iota
	codesExternal
	codesInternal
	codesRetry
)

var codePrefix = [4]string{"", "external.", "internal.", "retry."}

// CountResponse counts a response passed downstream as Envoy does: upstream_rq_completed,
// upstream_rq_<c>xx, upstream_rq_<code>, and the last two again under "internal." or
// "external." by x-envoy-internal.
func (l *Local) CountResponse(code int, internal bool) {
	l.Inc(RqCompleted)
	l.countCode(codesAll, code)
	if internal {
		l.countCode(codesInternal, code)
	} else {
		l.countCode(codesExternal, code)
	}
}

// CountRetriedResponse counts the response of an attempt that is retried, under "retry.".
func (l *Local) CountRetriedResponse(code int) { l.countCode(codesRetry, code) }

func (l *Local) countCode(kind, code int) {
	if code < 100 || code > 599 {
		return
	}
	t := l.codes[kind]
	if t == nil {
		t = new([600]stats.Counter)
		l.codes[kind] = t
	}
	// Classes live in the slots 1 to 5, which no code uses.
	if t[code] == 0 {
		p := codePrefix[kind] + "upstream_rq_"
		t[code] = l.cluster.scope.Counter(p + strconv.Itoa(code))
		t[code/100] = l.cluster.scope.Counter(p + strconv.Itoa(code/100) + "xx")
	}
	l.shard.Add(t[code], 1)
	l.shard.Add(t[code/100], 1)
}
