package xdsresource

import (
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	omitcanaryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_canary_hosts/v3"
	omitmetadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_host_metadata/v3"
	prevhostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	prevpriosv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
)

// retryConditions are the words of retry_on. The words of x-envoy-retry-grpc-on may stand
// among them, as Istio writes them.
var retryConditions = map[string]RetryOn{
	"5xx":                        Retry5xx,
	"gateway-error":              RetryGatewayError,
	"reset":                      RetryReset,
	"reset-before-request":       RetryResetBeforeRequest,
	"connect-failure":            RetryConnectFailure,
	"envoy-ratelimited":          RetryEnvoyRatelimited,
	"retriable-4xx":              Retry4xx,
	"refused-stream":             RetryRefusedStream,
	"retriable-status-codes":     RetryStatusCodes,
	"retriable-headers":          RetryHeaders,
	"http3-post-connect-failure": RetryHTTP3PostConnectFailure,
	"cancelled":                  RetryGRPCCancelled,
	"deadline-exceeded":          RetryGRPCDeadlineExceeded,
	"internal":                   RetryGRPCInternal,
	"resource-exhausted":         RetryGRPCResourceExhausted,
	"unavailable":                RetryGRPCUnavailable,
}

// ParseRetryOn reads a comma-separated list of retry conditions, as in retry_on and the
// x-envoy-retry-on header. unknown lists the words that mean nothing; Envoy skips them.
func ParseRetryOn(s string) (on RetryOn, unknown []string) {
	for word := range strings.SplitSeq(s, ",") {
		word = strings.TrimSpace(word)
		if word == "" {
			continue
		}
		bit, ok := retryConditions[word]
		if !ok {
			unknown = append(unknown, word)
			continue
		}
		on |= bit
	}
	return on, unknown
}

func (p *parser) retryPolicy(path string, m *routev3.RetryPolicy) *RetryPolicy {
	on, unknown := ParseRetryOn(m.GetRetryOn())
	for _, word := range unknown {
		p.bad(join(path, "retry_on"), "%q is no retry condition", word)
	}
	r := &RetryPolicy{
		On:                       on,
		NumRetries:               uint32Or(m.GetNumRetries(), 1),
		PerTryTimeout:            p.duration(join(path, "per_try_timeout"), m.GetPerTryTimeout(), 0),
		PerTryIdleTimeout:        p.duration(join(path, "per_try_idle_timeout"), m.GetPerTryIdleTimeout(), 0),
		HostSelectionMaxAttempts: 1,
		Headers:                  p.headerMatchers(join(path, "retriable_headers"), m.GetRetriableHeaders()),
		RequestHeaders:           p.headerMatchers(join(path, "retriable_request_headers"), m.GetRetriableRequestHeaders()),
		BackOffBase:              25 * time.Millisecond,
	}
	if n := m.GetHostSelectionRetryMaxAttempts(); n > 0 {
		r.HostSelectionMaxAttempts = uint32(min(n, 1<<20))
	}
	for _, c := range m.GetRetriableStatusCodes() {
		r.StatusCodes = append(r.StatusCodes, int(c))
	}
	for i, pred := range m.GetRetryHostPredicate() {
		p.hostPredicate(at(join(path, "retry_host_predicate"), i), pred, r)
	}
	if rp := m.GetRetryPriority(); rp != nil {
		var c prevpriosv3.PreviousPrioritiesConfig
		if p.message(join(path, "retry_priority.typed_config"), rp.GetTypedConfig(), &c) {
			r.PriorityUpdate = int(c.GetUpdateFrequency())
		}
	}
	for i, o := range m.GetRetryOptionsPredicates() {
		p.bad(at(join(path, "retry_options_predicates"), i), "retry options predicate %q (type %s) is not supported: Envoy itself has none", o.GetName(), TypeName(o.GetTypedConfig()))
	}
	if m.GetRetryBackOff() == nil {
		r.BackOffKey = p.dec.keys.Key("upstream.base_retry_backoff_ms")
	}
	if b := m.GetRetryBackOff(); b != nil {
		here := join(path, "retry_back_off")
		r.BackOffBase = max(p.duration(join(here, "base_interval"), b.GetBaseInterval(), r.BackOffBase), time.Millisecond)
		r.BackOffMax = p.duration(join(here, "max_interval"), b.GetMaxInterval(), 0)
		if r.BackOffMax != 0 && r.BackOffMax < r.BackOffBase {
			p.bad(join(here, "max_interval"), "%v is shorter than base_interval %v", r.BackOffMax, r.BackOffBase)
		}
	}
	if l := m.GetRateLimitedRetryBackOff(); l != nil {
		r.ResetMax = p.duration(join(path, "rate_limited_retry_back_off.max_interval"), l.GetMaxInterval(), 300*time.Second)
		for _, h := range l.GetResetHeaders() {
			r.ResetHeaders = append(r.ResetHeaders, ResetHeader{Name: strings.ToLower(h.GetName()), Unix: h.GetFormat() == routev3.RetryPolicy_UNIX_TIMESTAMP})
		}
	}
	if r.BackOffMax == 0 {
		r.BackOffMax = 10 * r.BackOffBase
	}
	return r
}

// hostPredicate reads what hosts a further attempt would rather not go to. The first two were known by
// their names alone once.
func (p *parser) hostPredicate(path string, m *routev3.RetryPolicy_RetryHostPredicate, r *RetryPolicy) {
	a := m.GetTypedConfig()
	kind := TypeName(a)
	if a == nil {
		kind = m.GetName()
	}
	here := join(path, "typed_config")
	switch kind {
	case "envoy.retry_host_predicates.previous_hosts":
		r.AvoidPreviousHosts = true
	case "envoy.retry_host_predicates.omit_canary_hosts":
		r.OmitCanary = true
	case "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate":
		r.AvoidPreviousHosts = p.message(here, a, &prevhostsv3.PreviousHostsPredicate{})
	case "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate":
		r.OmitCanary = p.message(here, a, &omitcanaryv3.OmitCanaryHostsPredicate{})
	case "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig":
		var c omitmetadatav3.OmitHostMetadataConfig
		if p.message(here, a, &c) {
			r.OmitMetadata = p.metadataMatch(join(here, "metadata_match"), c.GetMetadataMatch())
		}
	default:
		p.bad(path, "retry host predicate %q (type %s) is not supported", m.GetName(), TypeName(a))
	}
}

// hedge reads hedge_policy. Its other fields are Envoy's plans, which Envoy takes and does nothing for.
func (p *parser) hedge(path string, m *routev3.HedgePolicy) bool {
	if n := m.GetInitialRequests(); n != nil && n.GetValue() != 1 {
		p.bad(join(path, "initial_requests"), "%d requests at a time are not supported, by Envoy neither; remove it", n.GetValue())
	}
	if c := m.GetAdditionalRequestChance(); c.GetNumerator() != 0 {
		p.bad(join(path, "additional_request_chance"), "further requests by chance are not supported, by Envoy neither; remove it")
	}
	return m.GetHedgeOnPerTryTimeout()
}
