package xdsresource

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

func outlierCluster(predicate string) string {
	return `
name: c
type: STATIC
outlier_detection: {}
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {}}
    outlier_detection: {error_matcher: ` + predicate + `}
`
}

func TestErrorMatcher(t *testing.T) {
	status := func(match string) string {
		return `{http_response_headers_match: {headers: [{name: ":status", ` + match + `}]}}`
	}
	exact := func(code string) string { return status(`string_match: {exact: "` + code + `"}`) }
	for _, c := range []struct {
		predicate string
		in, out   []int
	}{
		{exact("429"), []int{429}, []int{428, 430, 500, 503}},
		{`{or_match: {rules: [` + exact("429") + `, ` + exact("503") + `]}}`, []int{429, 503}, []int{500}},
		{status(`range_match: {start: 500, end: 504}`), []int{500, 503}, []int{499, 504}},
		{status(`string_match: {prefix: "5"}`), []int{500, 599}, []int{499}},
		{status(`string_match: {safe_regex: {regex: "4.4"}}`), []int{404, 444}, []int{403}},
		{status(`present_match: true`), []int{100, 599}, nil},
		{status(`string_match: {exact: "404"}, invert_match: true`), []int{403}, []int{404}},
		{`{not_match: ` + exact("404") + `}`, []int{403}, []int{404}},
		{`{and_match: {rules: [` + status(`range_match: {start: 500, end: 600}`) + `, {not_match: ` + exact("503") + `}]}}`, []int{500, 599}, []int{404, 503}},
		{`{any_match: true}`, []int{100, 599}, nil},
	} {
		v, err := decode(t, &clusterv3.Cluster{}, outlierCluster(c.predicate))
		if err != nil {
			t.Errorf("%s: %v", c.predicate, err)
			continue
		}
		set := v.(*Cluster).Outlier.Errors
		for _, code := range slices.Concat(c.in, c.out) {
			if got, want := set.Has(code), slices.Contains(c.in, code); got != want {
				t.Errorf("%s: %d is an error: %v", c.predicate, code, got)
			}
		}
	}
	v, err := decode(t, &clusterv3.Cluster{}, "name: c\ntype: STATIC\noutlier_detection: {}\n")
	if err != nil || v.(*Cluster).Outlier.Errors != nil {
		t.Errorf("without a matcher: %v", err)
	}
	for predicate, want := range map[string]string{
		`{http_response_headers_match: {headers: [{name: x-broken, present_match: true}]}}`:                   "by :status alone",
		`{http_request_headers_match: {headers: [{name: ":path", present_match: true}]}}`:                     "only the response's headers",
		`{or_match: {rules: [` + exact("500") + `, {http_response_trailers_match: {headers: [{name: a}]}}]}}`: "or_match.rules[1]",
	} {
		if _, err := decode(t, &clusterv3.Cluster{}, outlierCluster(predicate)); err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v, want %q", predicate, err, want)
		}
	}
}
