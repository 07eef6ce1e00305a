package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestTakesWhatTheControlPlaneSends decodes every resource of the control plane's golden
// files: what one half sends the other must take.
func TestTakesWhatTheControlPlaneSends(t *testing.T) {
	files, err := filepath.Glob("../../../controlplane/internal/translate/testdata/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	dec := xdsresource.NewDecoder(Extensions())
	kinds := map[string]func() proto.Message{
		"listeners": func() proto.Message { return &listenerv3.Listener{} },
		"routes":    func() proto.Message { return &routev3.RouteConfiguration{} },
		"clusters":  func() proto.Message { return &clusterv3.Cluster{} },
		"endpoints": func() proto.Message { return &endpointv3.ClusterLoadAssignment{} },
	}
	n := 0
	for _, file := range files {
		parts := strings.Split(filepath.Base(file), ".")
		if len(parts) != 3 || kinds[parts[1]] == nil {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		asJSON, err := yaml.YAMLToJSON(raw)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var list []json.RawMessage
		if err := json.Unmarshal(asJSON, &list); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for i, part := range list {
			m := kinds[parts[1]]()
			if err := protojson.Unmarshal(part, m); err != nil {
				t.Errorf("%s[%d]: %v", file, i, err)
				continue
			}
			a, err := anypb.New(m)
			if err != nil {
				t.Fatal(err)
			}
			n++
			// A file that a resource names need not be on this machine.
			if _, err := dec.Decode(a); err != nil && !strings.Contains(err.Error(), "no such file") {
				t.Errorf("%s[%d]: %v", file, i, err)
			}
		}
	}
	if n == 0 {
		t.Fatal("no resource was read")
	}
}
