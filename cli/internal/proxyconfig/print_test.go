package proxyconfig

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestTables(t *testing.T) {
	raw, err := os.ReadFile("testdata/config_dump.json")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	raw, err = os.ReadFile("testdata/clusters.json")
	if err != nil {
		t.Fatal(err)
	}
	endpoints, err := ParseClusters(raw)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		print func(w *bytes.Buffer) error
	}{
		{"clusters", func(w *bytes.Buffer) error { return d.PrintClusters(w, ClusterFilter{}) }},
		{"clusters-subset", func(w *bytes.Buffer) error {
			return d.PrintClusters(w, ClusterFilter{FQDN: "catalog", Subset: "version-v1", Port: 80, Direction: "outbound"})
		}},
		{"blackhole-json", func(w *bytes.Buffer) error {
			return printJSON(w, "json", d, "BlackHoleCluster")
		}},
		{"blackhole-yaml", func(w *bytes.Buffer) error {
			return printJSON(w, "yaml", d, "BlackHoleCluster")
		}},
		{"listeners", func(w *bytes.Buffer) error { return d.PrintListeners(w, ListenerFilter{}) }},
		{"listeners-80", func(w *bytes.Buffer) error { return d.PrintListeners(w, ListenerFilter{Port: 80, Type: "http"}) }},
		{"routes", func(w *bytes.Buffer) error { return d.PrintRoutes(w, RouteFilter{}) }},
		{"routes-vhosts", func(w *bytes.Buffer) error {
			return d.PrintRoutes(w, RouteFilter{Name: "http.8080", VirtualHosts: true})
		}},
		{"endpoints", func(w *bytes.Buffer) error { return PrintEndpoints(w, endpoints, EndpointFilter{}) }},
		{"endpoints-healthy", func(w *bytes.Buffer) error {
			return PrintEndpoints(w, endpoints, EndpointFilter{Status: "healthy", Port: 3000, Address: "10.10.0.16"})
		}},
		{"secrets", func(w *bytes.Buffer) error { return d.PrintSecrets(w, time.Unix(0, 0)) }},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var got bytes.Buffer
			if err := tc.print(&got); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", tc.name+".golden")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("output differs from %s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

func printJSON(w *bytes.Buffer, format string, d *Dump, fqdn string) error {
	raw, err := d.ClustersJSON(ClusterFilter{FQDN: fqdn})
	if err != nil {
		return err
	}
	return Print(w, format, raw)
}

func TestParseRefusesWhatIsNoDump(t *testing.T) {
	for _, in := range []string{``, `[]`, `{"configs": [{}]}`, `{"configs": [{"@type": "a.ClustersConfigDump", "static_clusters": 3}]}`,
		`{"configs": [{"@type": "a.ClustersConfigDump", "static_clusters": [{"cluster": {"name": 7}}]}]}`} {
		if _, err := Parse([]byte(in)); err == nil {
			t.Errorf("Parse(%s) succeeded", in)
		}
	}
}
