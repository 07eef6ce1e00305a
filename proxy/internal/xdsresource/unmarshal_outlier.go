package xdsresource

import (
	"strconv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
)

func (p *parser) outlier(path string, m *clusterv3.OutlierDetection) *OutlierDetection {
	o := &OutlierDetection{
		Consecutive5xx:                     uint32Or(m.GetConsecutive_5Xx(), 5),
		ConsecutiveGatewayFailure:          uint32Or(m.GetConsecutiveGatewayFailure(), 5),
		ConsecutiveLocalFailure:            uint32Or(m.GetConsecutiveLocalOriginFailure(), 5),
		EnforcingConsecutive5xx:            uint32Or(m.GetEnforcingConsecutive_5Xx(), 100),
		EnforcingConsecutiveGatewayFailure: uint32Or(m.GetEnforcingConsecutiveGatewayFailure(), 0),
		EnforcingConsecutiveLocalFailure:   uint32Or(m.GetEnforcingConsecutiveLocalOriginFailure(), 100),
		SplitExternalLocal:                 m.GetSplitExternalLocalOriginErrors(),
		Interval:                           p.duration(join(path, "interval"), m.GetInterval(), 10*time.Second),
		BaseEjectionTime:                   p.duration(join(path, "base_ejection_time"), m.GetBaseEjectionTime(), 30*time.Second),
		MaxEjectionPercent:                 uint32Or(m.GetMaxEjectionPercent(), 10),
		AlwaysEjectOneHost:                 boolOr(m.GetAlwaysEjectOneHost(), false),
		EnforcingSuccessRate:               uint32Or(m.GetEnforcingSuccessRate(), 100),
		SuccessRateMinimumHosts:            uint32Or(m.GetSuccessRateMinimumHosts(), 5),
		SuccessRateRequestVolume:           uint32Or(m.GetSuccessRateRequestVolume(), 100),
		SuccessRateStdevFactor:             uint32Or(m.GetSuccessRateStdevFactor(), 1900),
		EnforcingLocalSuccessRate:          uint32Or(m.GetEnforcingLocalOriginSuccessRate(), 100),
		FailurePercentageThreshold:         uint32Or(m.GetFailurePercentageThreshold(), 85),
		FailurePercentageMinimumHosts:      uint32Or(m.GetFailurePercentageMinimumHosts(), 5),
		FailurePercentageRequestVolume:     uint32Or(m.GetFailurePercentageRequestVolume(), 50),
		EnforcingFailurePercentage:         uint32Or(m.GetEnforcingFailurePercentage(), 0),
		EnforcingLocalFailurePercentage:    uint32Or(m.GetEnforcingFailurePercentageLocalOrigin(), 0),
		MaxEjectionTimeJitter:              p.duration(join(path, "max_ejection_time_jitter"), m.GetMaxEjectionTimeJitter(), 0),
		UnejectOnHealthCheck:               boolOr(m.GetSuccessfulActiveHealthCheckUnejectHost(), true),
		DetectDegraded:                     boolOr(m.GetDetectDegradedHosts(), false),
	}
	o.MaxEjectionTime = p.duration(join(path, "max_ejection_time"), m.GetMaxEjectionTime(), max(300*time.Second, o.BaseEjectionTime))
	if m.GetMaxEjectionTime() != nil && o.MaxEjectionTime < o.BaseEjectionTime {
		p.bad(join(path, "max_ejection_time"), "%v is shorter than base_ejection_time %v", o.MaxEjectionTime, o.BaseEjectionTime)
	}
	return o
}

// Statuses is a set of HTTP statuses, 100 to 599.
type Statuses [500]bool

// Has reports whether a status is in the set.
func (s *Statuses) Has(code int) bool { return code >= 100 && code < 600 && s[code-100] }

// errorStatuses reads which responses outlier detection takes for errors. They are told apart by their status: every status is matched here,
// and no response later.
func (p *parser) errorStatuses(path string, m *matcherv3.MatchPredicate) *Statuses {
	match := p.statusPredicate(path, m)
	out := &Statuses{}
	for i := range out {
		out[i] = match(strconv.Itoa(i + 100))
	}
	return out
}

func (p *parser) statusPredicate(path string, m *matcherv3.MatchPredicate) func(status string) bool {
	never := func(string) bool { return false }
	all := func(name string, set *matcherv3.MatchPredicate_MatchSet) (out []func(string) bool) {
		for i, r := range set.GetRules() {
			out = append(out, p.statusPredicate(at(join(path, name+".rules"), i), r))
		}
		return out
	}
	switch r := m.GetRule().(type) {
	case *matcherv3.MatchPredicate_AnyMatch:
		return func(string) bool { return r.AnyMatch }
	case *matcherv3.MatchPredicate_NotMatch:
		inner := p.statusPredicate(join(path, "not_match"), r.NotMatch)
		return func(s string) bool { return !inner(s) }
	case *matcherv3.MatchPredicate_OrMatch:
		rules := all("or_match", r.OrMatch)
		return func(s string) bool {
			for _, rule := range rules {
				if rule(s) {
					return true
				}
			}
			return false
		}
	case *matcherv3.MatchPredicate_AndMatch:
		rules := all("and_match", r.AndMatch)
		return func(s string) bool {
			for _, rule := range rules {
				if !rule(s) {
					return false
				}
			}
			return true
		}
	case *matcherv3.MatchPredicate_HttpResponseHeadersMatch:
		here := join(path, "http_response_headers_match.headers")
		headers := p.headerMatchers(here, r.HttpResponseHeadersMatch.GetHeaders())
		for i, h := range headers {
			if h.Name != ":status" {
				p.bad(join(at(here, i), "name"), "%q: responses are told apart by :status alone", h.Name)
			}
		}
		return func(s string) bool {
			for i := range headers {
				if !headers[i].matchValue(s) {
					return false
				}
			}
			return true
		}
	}
	p.bad(path, "only the response's headers can be matched, by http_response_headers_match")
	return never
}

// matchValue judges a header that is there and has one value. It is for places off the request path.
func (m *HeaderMatcher) matchValue(v string) bool {
	ok := true
	switch {
	case m.Present != nil:
		ok = *m.Present
	case m.Range != nil:
		n, err := strconv.ParseInt(v, 10, 64)
		ok = err == nil && n >= m.Range[0] && n < m.Range[1]
	case m.String != nil:
		ok = m.String.Match(v)
	}
	return ok != m.Invert
}
