package otlp

import (
	"fmt"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestResourceOfLogs: what a resource is called by is said once, and by whom comes last: builtin, detected, configured.
func TestResourceOfLogs(t *testing.T) {
	node := &corev3.Node{Id: "n", Cluster: "c", Locality: &corev3.Locality{Zone: "z"}}
	for name, test := range map[string]struct {
		cfg  xdsresource.OTLPAccessLog
		want string
	}{
		"builtin":    {xdsresource.OTLPAccessLog{LogName: "l"}, "[log_name=l zone_name=z cluster_name=c node_name=n]"},
		"none":       {xdsresource.OTLPAccessLog{NoBuiltinTags: true}, "[]"},
		"detected":   {xdsresource.OTLPAccessLog{LogName: "l", Detected: [][2]string{{"a", "100%"}, {"zone_name", "other"}, {"a", "2"}}}, "[log_name=l cluster_name=c node_name=n zone_name=other a=2]"},
		"configured": {xdsresource.OTLPAccessLog{LogName: "l", NoBuiltinTags: true, Detected: [][2]string{{"a", "1"}, {"b", "2"}}, Resource: map[string]any{"a": "%PROTOCOL%"}}, "[b=2 a=-]"},
	} {
		l, err := NewLogs(&test.cfg, Deps{Workers: 1, Node: node})
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, kv := range l.resource.Attributes {
			got = append(got, kv.GetKey()+"="+kv.GetValue().GetStringValue())
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("%s: %v, want %s", name, got, test.want)
		}
	}
}

// TestScalars: booleans and numbers keep their kind.
func TestScalars(t *testing.T) {
	v, err := compile([]any{true, int64(7), 0.5, "text"})
	if err != nil {
		t.Fatal(err)
	}
	list := v.value(nil).GetArrayValue().GetValues()
	if len(list) != 4 || !list[0].GetBoolValue() || list[1].GetIntValue() != 7 || list[2].GetDoubleValue() != 0.5 {
		t.Errorf("%v", list)
	}
}
