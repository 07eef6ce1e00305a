package router

import (
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// resetInterval is how long a response asks to wait, by the first header of the policy that says
// so and does not ask for too much; 0: none does.
func resetInterval(p *xdsresource.RetryPolicy, h *header.Map, now time.Time) time.Duration {
	for i := range p.ResetHeaders {
		r := &p.ResetHeaders[i]
		v, ok := h.GetName(r.Name) // the first value; others are not looked at
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.Trim(string(v), " \t"), 10, 64)
		if err != nil {
			continue
		}
		if r.Unix {
			passed := uint64(now.Unix())
			if n < passed {
				continue
			}
			n -= passed
		}
		if n <= uint64(p.ResetMax/time.Second) {
			return time.Duration(n) * time.Second
		}
	}
	return 0
}
