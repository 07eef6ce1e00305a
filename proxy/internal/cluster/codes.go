package cluster

import (
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// originCodes are counters by response code, made when a code is first seen: by whom the
// request came (all, external, internal) and of retried attempts.
type originCodes [4][6]*codeClass

// codeClass is the counters of the codes of one class, and of the class itself.
type codeClass struct {
	class stats.Counter
	codes [100]stats.Counter
}

const (
	codesAll = iota
	codesExternal
	codesInternal
	codesRetry
)

var codePrefix = [4]string{"", "external.", "internal.", "retry."}

// CountResponse counts a response passed downstream as Envoy does: upstream_rq_completed,
// upstream_rq_<c>xx, upstream_rq_<code>, and all of them again under "internal." or
// "external." by x-envoy-internal.
func (l *Local) CountResponse(code int, internal bool) {
	l.countCode(codesAll, code)
	if internal {
		l.countCode(codesInternal, code)
	} else {
		l.countCode(codesExternal, code)
	}
}

// RecordTime records how long an answer took, in milliseconds: upstream_rq_time, and the same under
// "internal." or "external.".
func (l *Local) RecordTime(ms uint64, internal bool) {
	l.Record(RqTime, ms)
	kind := codesExternal
	if internal {
		kind = codesInternal
	}
	if l.times[kind] == 0 {
		l.times[kind] = l.cluster.scope.Histogram(codePrefix[kind] + "upstream_rq_time")
	}
	l.shard.Record(l.times[kind], ms)
}

// CountRetriedResponse counts the response of an attempt that is retried, under "retry.".
func (l *Local) CountRetriedResponse(code int) { l.countCode(codesRetry, code) }

func (l *Local) countCode(kind, code int) {
	if code < 100 || code > 599 {
		return
	}
	t := l.codes[kind][code/100]
	if t == nil {
		t = &codeClass{class: l.cluster.scope.Counter(codePrefix[kind] + "upstream_rq_" + strconv.Itoa(code/100) + "xx")}
		l.codes[kind][code/100] = t
	}
	c := &t.codes[code%100]
	if *c == 0 {
		*c = l.cluster.scope.Counter(codePrefix[kind] + "upstream_rq_" + strconv.Itoa(code))
	}
	l.shard.Add(*c, 1)
	l.shard.Add(t.class, 1)
	l.countCompleted(kind)
}

// CountUncoded is CountResponse without upstream_rq_<c>xx and upstream_rq_<code>. As in Envoy those under "internal." and
// "external." stay.
func (l *Local) CountUncoded(code int, internal bool) {
	l.countCompleted(codesAll)
	if internal {
		l.countCode(codesInternal, code)
	} else {
		l.countCode(codesExternal, code)
	}
}

func (l *Local) countCompleted(kind int) {
	if kind == codesAll { // a fixed statistic of the cluster
		l.Inc(RqCompleted)
		return
	}
	if l.completed[kind] == 0 {
		l.completed[kind] = l.cluster.scope.Counter(codePrefix[kind] + "upstream_rq_completed")
	}
	l.shard.Add(l.completed[kind], 1)
}
