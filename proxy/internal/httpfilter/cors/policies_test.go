package cors

import (
	"regexp"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestPolicies: each property is that of the most specific level that has it.
func TestPolicies(t *testing.T) {
	yes, no := true, false
	exact := func(v string) []xdsresource.StringMatch { return []xdsresource.StringMatch{{Value: v}} }
	everything := []xdsresource.StringMatch{{Kind: xdsresource.StringRegex, Value: ".*", Regex: regexp.MustCompile("^.*$")}}
	narrow := &xdsresource.CORSPolicy{AllowMethods: "PUT", AllowCredentials: &no}
	wide := &xdsresource.CORSPolicy{
		Origins: exact("http://a"), AllowMethods: "GET", MaxAge: "7", AllowCredentials: &yes, AllowPrivateNetwork: &yes, ForwardNotMatchingPreflights: &no,
	}
	for _, test := range []struct {
		name     string
		levels   policies
		origin   string
		allowed  bool
		forward  bool
		methods  string
		maxAge   string
		creds    bool
		networks bool
	}{
		{"none", nil, "http://a", false, true, "", "", false, false},
		{"one", policies{wide}, "http://a", true, false, "GET", "7", true, true},
		{"one, another origin", policies{wide}, "http://b", false, false, "GET", "7", true, true},
		{"two", policies{narrow, wide}, "http://a", true, false, "PUT", "7", false, true},
		{"origins of the narrow one only", policies{{Origins: exact("http://b")}, wide}, "http://a", false, false, "GET", "7", true, true},
		{"a star", policies{{Origins: exact("*")}}, "http://any", true, true, "", "", false, false},
		{"a pattern that matches a star", policies{{Origins: everything}}, "http://any", true, true, "", "", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			ps := test.levels
			if got := ps.allow(test.origin); got != test.allowed {
				t.Errorf("allowed: %v", got)
			}
			if got := ps.forward(); got != test.forward {
				t.Errorf("forward: %v", got)
			}
			if m, a := ps.text(allowMethods), ps.text(maxAge); m != test.methods || a != test.maxAge {
				t.Errorf("methods %q, age %q", m, a)
			}
			if c, n := ps.flag(allowCredentials), ps.flag(allowPrivateNetwork); c != test.creds || n != test.networks {
				t.Errorf("credentials %v, networks %v", c, n)
			}
		})
	}
}
