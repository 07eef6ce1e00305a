package ratelimit

import (
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/rls"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

var (
	limitKey     = header.KeyOf("x-ratelimit-limit")
	remainingKey = header.KeyOf("x-ratelimit-remaining")
	resetKey     = header.KeyOf("x-ratelimit-reset")
	limitedKey   = header.KeyOf("x-envoy-ratelimited")
)

// appendLimits makes the x-ratelimit-* headers of the status of which least is left, with the windows
// of all (https://tools.ietf.org/id/draft-polli-ratelimit-headers-03.html).
func appendLimits(dst []limitHeader, sent []route.Descriptor, statuses []rls.Status, enabled bool) []limitHeader {
	shown := func(i int) bool {
		if i < len(sent) && sent[i].Headers != xdsresource.RateLimitHeadersDefault {
			return sent[i].Headers == xdsresource.RateLimitHeadersOn
		}
		return enabled
	}
	least := -1
	for i := range statuses {
		if statuses[i].HasLimit && (least < 0 || statuses[i].Remaining < statuses[least].Remaining) {
			least = i
		}
	}
	if least < 0 || !shown(least) {
		return dst
	}
	s := &statuses[least]
	v := strconv.AppendUint(nil, uint64(s.Requests), 10)
	for i := range statuses {
		w := &statuses[i]
		if !w.HasLimit || w.Window == 0 || !shown(i) {
			continue
		}
		v = strconv.AppendUint(append(v, ", "...), uint64(w.Requests), 10)
		v = strconv.AppendUint(append(v, ";w="...), w.Window, 10)
		if w.Name != "" {
			v = append(append(append(v, `;name="`...), w.Name...), '"')
		}
	}
	return append(dst, limitHeader{limitKey, string(v)}, limitHeader{remainingKey, strconv.FormatUint(uint64(s.Remaining), 10)},
		limitHeader{resetKey, strconv.FormatInt(int64(s.Reset/time.Second), 10)})
}

// retryAfter is in how many seconds the last of the limits that a request is over begins anew; false:
// the service does not say.
func retryAfter(statuses []rls.Status) (seconds uint64, ok bool) {
	for i := range statuses {
		if s := &statuses[i]; s.OverLimit {
			seconds, ok = max(seconds, uint64(s.Reset/time.Second), 1), true
		}
	}
	return seconds, ok
}
