package xdsresource

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// FilterReader reads the configuration of one HTTP filter for the filter's own package: it judges the message as resources are judged,
// and turns the messages that filters share into this package's types. Problems are collected; Err returns them all.
type FilterReader struct {
	name string
	p    parser
}

// ReadFilter unpacks a filter's configuration into msg. name is the filter's, for the error.
func ReadFilter(name string, a *anypb.Any, msg proto.Message) *FilterReader {
	r := &FilterReader{name: name}
	r.p.message("", a, msg)
	return r
}

// Bad records a problem at a field's path.
func (r *FilterReader) Bad(path, format string, args ...any) { r.p.bad(path, format, args...) }

// HeaderMatchers converts a list of header matchers.
func (r *FilterReader) HeaderMatchers(path string, in []*routev3.HeaderMatcher) []HeaderMatcher {
	return r.p.headerMatchers(path, in)
}

// StringMatch converts a string matcher.
func (r *FilterReader) StringMatch(path string, m *matcherv3.StringMatcher) StringMatch {
	return r.p.stringMatch(path, m)
}

// Fraction converts a percentage; nil stays nil.
func (r *FilterReader) Fraction(path string, f *typev3.FractionalPercent) *FractionalPercent {
	return r.p.fraction(path, f)
}

// Err is nil when the configuration may be used.
func (r *FilterReader) Err() error {
	if len(r.p.problems) == 0 {
		return nil
	}
	return &Error{Type: "filter", Name: r.name, Problems: r.p.problems}
}
