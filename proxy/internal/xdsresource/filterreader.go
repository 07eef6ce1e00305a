package xdsresource

import (
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
)

// FilterReader reads the configuration of one HTTP filter for the filter's own package: it judges the message as resources are judged,
// and turns the messages that filters share into this package's types. Problems are collected; Err returns them all.
type FilterReader struct {
	name string
	p    parser
}

// ReadFilter unpacks a filter's configuration into msg. name is the filter's, for the error.
func (d *Decoder) ReadFilter(name string, a *anypb.Any, msg proto.Message) *FilterReader {
	if d == nil {
		d = NewDecoder(Extensions{})
	}
	r := &FilterReader{name: name, p: parser{dec: d}}
	r.p.message("", a, msg)
	return r
}

// Bad records a problem at a field's path.
func (r *FilterReader) Bad(path, format string, args ...any) { r.p.bad(path, format, args...) }

// HeaderMatchers converts a list of header matchers.
func (r *FilterReader) HeaderMatchers(path string, in []*routev3.HeaderMatcher) []HeaderMatcher {
	return r.p.headerMatchers(path, in)
}

// RouteMatch converts the match of a route.
func (r *FilterReader) RouteMatch(path string, m *routev3.RouteMatch) *RouteMatch {
	out := r.p.routeMatch(path, m)
	return &out
}

// StringMatch converts a string matcher.
func (r *FilterReader) StringMatch(path string, m *matcherv3.StringMatcher) StringMatch {
	return r.p.stringMatch(path, m)
}

// Fraction converts a percentage; nil stays nil.
func (r *FilterReader) Fraction(path string, f *typev3.FractionalPercent) *FractionalPercent {
	return r.p.fraction(path, f)
}

// MetadataMatcher converts a condition on dynamic metadata.
func (r *FilterReader) MetadataMatcher(path string, m *matcherv3.MetadataMatcher) MetadataMatcher {
	return r.p.metadataMatcher(path, m)
}

// Headers converts a list of headers to add.
func (r *FilterReader) Headers(path string, in []*corev3.HeaderValueOption) []HeaderOp {
	return r.p.headersToAdd(path, in)
}

// DataSource reads bytes from wherever they are.
func (r *FilterReader) DataSource(path string, m *corev3.DataSource) []byte {
	return r.p.dataSource(path, m)
}

// AccessLogs converts a list of access logs.
func (r *FilterReader) AccessLogs(path string, in []*accesslogv3.AccessLog) []AccessLog {
	return r.p.accessLogs(path, in)
}

// Text converts a format that must be text.
func (r *FilterReader) Text(path string, m *corev3.SubstitutionFormatString) string {
	return r.p.textFormat(path, m)
}

// RuntimeFraction converts a percentage that the runtime may override; nil stays nil.
func (r *FilterReader) RuntimeFraction(path string, f *corev3.RuntimeFractionalPercent) *FractionalPercent {
	return r.p.runtimeFraction(path, f)
}

// RuntimeFlag converts a flag that the runtime may override; def is what nil stands for.
func (r *FilterReader) RuntimeFlag(f *corev3.RuntimeFeatureFlag, def bool) Flag {
	return r.p.runtimeFlag(f, def)
}

// RuntimeKey is a key that the configuration names without a default beside it.
func (r *FilterReader) RuntimeKey(name string) *runtimekey.Key { return r.p.dec.keys.Key(name) }

// Duration converts a duration, def when it is absent.
func (r *FilterReader) Duration(path string, d *durationpb.Duration, def time.Duration) time.Duration {
	return r.p.duration(path, d, def)
}

// Unpack judges an extension's configuration within the filter's and unpacks it into msg.
func (r *FilterReader) Unpack(path string, a *anypb.Any, msg proto.Message) bool {
	return r.p.message(path, a, msg)
}

// Err is nil when the configuration may be used.
func (r *FilterReader) Err() error {
	if len(r.p.problems) == 0 {
		return nil
	}
	return &Error{Type: "filter", Name: r.name, Problems: r.p.problems}
}
