package rbac_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/rbac"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestMatcherRefusals holds what of a matcher is not taken.
func TestMatcherRefusals(t *testing.T) {
	const yes = `{action: {name: a, typed_config: {"@type": type.googleapis.com/envoy.config.rbac.v3.Action, name: a}}}`
	single := func(input, match string) string {
		return `{matcher_list: {matchers: [{predicate: {single_predicate: {input: {name: i, typed_config: {"@type": type.googleapis.com/` + input + `}}, ` + match + `}}, on_match: ` + yes + `}]}}`
	}
	const ip = `custom_match: {name: m, typed_config: {"@type": type.googleapis.com/envoy.extensions.matching.input_matchers.ip.v3.Ip, stat_prefix: s, cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}`
	for name, test := range map[string][2]string{
		"beside rules":     {`{rules: {}, matcher: {on_no_match: ` + yes + `}}`, "rules: stands beside matcher"},
		"shadow":           {`{shadow_rules: {}, shadow_matcher: {on_no_match: ` + yes + `}}`, "shadow_rules: stands beside shadow_matcher"},
		"keep matching":    {`{matcher: {on_no_match: {keep_matching: true, ` + yes[1:] + `}}`, "matcher.on_no_match.keep_matching: this field is not supported"},
		"another input":    {`{matcher: ` + single("xds.type.matcher.v3.HttpAttributesCelMatchInput", "value_match: {exact: a}") + `}`, `input "i" (type xds.type.matcher.v3.HttpAttributesCelMatchInput) is not supported`},
		"another action":   {`{matcher: {on_no_match: {action: {name: a, typed_config: {"@type": type.googleapis.com/envoy.config.rbac.v3.RBAC}}}}}`, "envoy.config.rbac.v3.Action is"},
		"networks of text": {`{matcher: ` + single(`envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: x`, ip) + `}`, `matcher "m" takes addresses of connections only`},
		"taken":            {`{matcher: ` + single("envoy.extensions.matching.common_inputs.network.v3.SourceIPInput", ip) + `}`, ""},
	} {
		js, err := yaml.YAMLToJSON([]byte(test[0]))
		if err != nil {
			t.Fatal(name, err)
		}
		m := &rbacv3.RBAC{}
		if err := protojson.Unmarshal(js, m); err != nil {
			t.Fatal(name, err)
		}
		a, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		_, err = rbac.ParseConfig(xdsresource.NewDecoder(xdsresource.Extensions{}), a)
		if test[1] == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), test[1]) {
			t.Errorf("%s: no %q in: %v", name, test[1], err)
		}
	}
}
