package validate

import (
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/config/internal/field"
	"github.com/lateen-mesh/lateen/config/schema"
)

// retryTokens are the conditions of
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on
// and #x-envoy-retry-grpc-on. Besides them, Istio takes bare status codes.
var retryTokens = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx", "refused-stream",
	"retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
	"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

func (c *checker) retries(p *field.Path, r *networking.HTTPRetry) {
	if r.Attempts < 0 {
		c.add(p.Child("attempts"), "%d is negative; use 0 for no retries", r.Attempts)
	}
	if r.Attempts == 0 && (r.RetryOn != "" || r.PerTryTimeout != nil || r.RetryRemoteLocalities != nil) {
		c.add(p.Child("attempts"), "zero retries make the other fields meaningless; set attempts to 1 or more, or remove the others")
	}
	c.duration(p.Child("perTryTimeout"), r.PerTryTimeout, notNegative)
	c.duration(p.Child("backoff"), r.Backoff, atLeastMillisecond)
	if r.RetryOn == "" {
		return
	}
	at := p.Child("retryOn")
	for _, token := range strings.Split(r.RetryOn, ",") {
		token = strings.TrimSpace(token)
		if code, err := strconv.Atoi(token); err == nil {
			if code < 100 || code > 599 {
				c.add(at, "%d is not a status code", code)
			}
			continue
		}
		if !contains(retryTokens, token) {
			c.add(at, "%q is no condition%s; known: %s, and status codes", token, suggestion(token, retryTokens), strings.Join(retryTokens, ", "))
		}
	}
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// suggestion returns " (did you mean x?)" if one of the words is close.
func suggestion(word string, known []string) string {
	for _, k := range known {
		if schema.Near(strings.ToLower(word), strings.ToLower(k)) {
			return " (did you mean " + k + "?)"
		}
	}
	return ""
}
