package rls

import (
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	descriptorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func (r *Request) message() *ratelimitv3.RateLimitRequest {
	m := &ratelimitv3.RateLimitRequest{Domain: text(r.Domain), HitsAddend: r.Hits}
	for i := range r.Descriptors {
		d := &r.Descriptors[i]
		out := &descriptorv3.RateLimitDescriptor{IsNegativeHits: d.NegativeHits}
		for _, e := range d.Entries {
			out.Entries = append(out.Entries, &descriptorv3.RateLimitDescriptor_Entry{Key: text(e.Key), Value: text(e.Value)})
		}
		if d.Limit != nil {
			out.Limit = &descriptorv3.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: d.Limit.Requests, Unit: typev3.RateLimitUnit(d.Limit.Unit)}
		}
		if d.HasHits {
			out.HitsAddend = wrapperspb.UInt64(d.Hits)
		}
		m.Descriptors = append(m.Descriptors, out)
	}
	return m
}

// text makes a header's bytes a string of a proto, which is UTF-8.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// Code is what a service says.
type Code uint8

// Codes; the zero Code is no answer.
const (
	Failed Code = iota
	OK
	OverLimit
)

// Answer is what a service has said.
type Answer struct {
	Code     Code
	Statuses []Status // by descriptor, as far as the service has said
	// Request and Response are headers to add.
	Request, Response []Header
	Body              string         // of a refusal
	Metadata          map[string]any // dynamic; nil for none
}

// Header is a sound name, lower case, with a sound value.
type Header struct{ Name, Value string }

// Status is what a service says of one descriptor.
type Status struct {
	OverLimit bool
	HasLimit  bool
	Name      string
	Requests  uint32
	Window    uint64 // seconds; 0: unknown
	Remaining uint32
	Reset     time.Duration // until the window is over; negative ones are taken for 0
	HasReset  bool
}

// windows are the units' lengths in seconds.
var windows = map[ratelimitv3.RateLimitResponse_RateLimit_Unit]uint64{
	ratelimitv3.RateLimitResponse_RateLimit_SECOND: 1,
	ratelimitv3.RateLimitResponse_RateLimit_MINUTE: 60,
	ratelimitv3.RateLimitResponse_RateLimit_HOUR:   60 * 60,
	ratelimitv3.RateLimitResponse_RateLimit_DAY:    24 * 60 * 60,
	ratelimitv3.RateLimitResponse_RateLimit_WEEK:   7 * 24 * 60 * 60,
	ratelimitv3.RateLimitResponse_RateLimit_MONTH:  30 * 24 * 60 * 60,
	ratelimitv3.RateLimitResponse_RateLimit_YEAR:   365 * 24 * 60 * 60,
}

func read(m *ratelimitv3.RateLimitResponse) *Answer {
	a := &Answer{Code: OK, Request: headers(m.GetRequestHeadersToAdd()), Response: headers(m.GetResponseHeadersToAdd()), Body: string(m.GetRawBody())}
	if m.GetOverallCode() == ratelimitv3.RateLimitResponse_OVER_LIMIT {
		a.Code = OverLimit
	}
	if md := m.GetDynamicMetadata(); len(md.GetFields()) > 0 {
		a.Metadata = md.AsMap()
	}
	for _, s := range m.GetStatuses()[:min(len(m.GetStatuses()), maxStatuses)] {
		l := s.GetCurrentLimit()
		out := Status{
			OverLimit: s.GetCode() == ratelimitv3.RateLimitResponse_OVER_LIMIT, HasLimit: l != nil,
			Name: quotable(l.GetName()), Requests: l.GetRequestsPerUnit(), Remaining: s.GetLimitRemaining(),
			Window: windows[l.GetUnit()], Reset: max(s.GetDurationUntilReset().AsDuration(), 0), HasReset: s.GetDurationUntilReset() != nil,
		}
		if n := l.GetUnitMultiplier(); n != nil {
			out.Window *= uint64(n.GetValue())
		}
		a.Statuses = append(a.Statuses, out)
	}
	return a
}

// Bounds of what an answer can add to a message.
const (
	maxHeaders  = 100
	maxStatuses = 100
)

// quotable is a name that a header can hold in quotes; "" for one that it cannot.
func quotable(name string) string {
	if !sound(name) || strings.ContainsAny(name, `"\\`) {
		return ""
	}
	return name
}

func headers(in []*corev3.HeaderValue) []Header {
	var out []Header
	for _, h := range in {
		name := strings.ToLower(h.GetKey())
		if len(out) < maxHeaders && mayAdd(name) && sound(h.GetValue()) {
			out = append(out, Header{name, h.GetValue()})
		}
	}
	return out
}
