package cli

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/pkg/runfile"
)

func TestFindProxy(t *testing.T) {
	proxies := []runfile.Proxy{
		{Name: "catalog-v2-1", Namespace: "istioinaction", Workload: "catalog-v2"},
		{Name: "webapp-2", Namespace: "istioinaction", Workload: "webapp"},
		{Name: "webapp-1", Namespace: "istioinaction", Workload: "webapp"},
		{Name: "same", Namespace: "a", Workload: "same"},
		{Name: "same", Namespace: "b", Workload: "same"},
	}
	tests := []struct{ target, namespace, want, err string }{
		{"deploy/webapp.istioinaction", "", "webapp-1.istioinaction", ""},
		{"deployment/webapp", "istioinaction", "webapp-1.istioinaction", ""},
		{"webapp-2.istioinaction", "", "webapp-2.istioinaction", ""},
		{"pod/webapp-2", "", "webapp-2.istioinaction", ""},
		{"catalog-v2-1", "istioinaction", "catalog-v2-1.istioinaction", ""},
		{"same.b", "", "same.b", ""},
		{"same", "a", "same.a", ""},
		{"same", "", "", "namespaces a and b"},
		{"deploy/none", "", "", "there are: deploy/catalog-v2.istioinaction"},
		{"svc/webapp", "", "", "not svc/"},
	}
	for _, tc := range tests {
		got, err := findProxy(proxies, tc.target, tc.namespace)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s -n %q: error %v, want one with %q", tc.target, tc.namespace, err, tc.err)
			}
			continue
		}
		if err != nil || got.Name+"."+got.Namespace != tc.want {
			t.Errorf("%s -n %q: %s.%s, %v; want %s", tc.target, tc.namespace, got.Name, got.Namespace, err, tc.want)
		}
	}
}

func TestLogQueries(t *testing.T) {
	tests := []struct{ levels, want, err string }{
		{"", "", ""},
		{"warning", "?level=warning", ""},
		{"http:debug,router:trace", "?http=debug ?router=trace", ""},
		{"http:loud", "", "http:loud"},
		{":debug", "", ":debug"},
	}
	for _, tc := range tests {
		got, err := logQueries(tc.levels, false)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: error %v, want one with %q", tc.levels, err, tc.err)
			}
			continue
		}
		if err != nil || strings.Join(got, " ") != tc.want {
			t.Errorf("%q: %q, %v; want %q", tc.levels, got, err, tc.want)
		}
	}
}
