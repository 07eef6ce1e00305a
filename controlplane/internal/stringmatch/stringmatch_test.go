package stringmatch_test

import (
	"testing"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/stringmatch"
)

func TestStars(t *testing.T) {
	for _, c := range []struct {
		name string
		got  *matcherv3.StringMatcher
		want string
	}{
		{"a value", stringmatch.Star("a"), `exact: "a"`},
		{"nothing", stringmatch.Star(""), `exact: ""`},
		{"a beginning", stringmatch.Star("a*"), `prefix: "a"`},
		{"an end", stringmatch.Star("*a"), `suffix: "a"`},
		{"anything", stringmatch.Star("*"), `safe_regex: {regex: ".+"}`},
		{"stars at both ends: the second is a letter", stringmatch.Star("*a*"), `suffix: "a*"`},
		{"a star within is a letter", stringmatch.Star("a*b"), `exact: "a*b"`},
		{"a value after a text", stringmatch.StarAfter("x:", "a"), `exact: "x:a"`},
		{"a beginning after a text", stringmatch.StarAfter("x:", "a*"), `prefix: "x:a"`},
		{"an end says nothing of the text", stringmatch.StarAfter("x:", "*a"), `suffix: "a"`},
		{"case", stringmatch.IgnoringCase(stringmatch.Star("a*")), `prefix: "a" ignore_case: true`},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := &matcherv3.StringMatcher{}
			if err := prototext.Unmarshal([]byte(c.want), want); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(c.got, want) {
				t.Errorf("%v, want %v", c.got, want)
			}
		})
	}
}
