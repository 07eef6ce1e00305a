package up

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/agent/status"
)

const twoDeployments = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web, version: v1}
      annotations: {prometheus.io/scrape: "true", prometheus.io/port: "9080", prometheus.istio.io/merge-metrics: "true", sidecar.istio.io/inject: "true"}
    spec:
      serviceAccountName: web-account
      containers:
      - name: logs
        image: registry:5000/logs:1
      - name: web
        image: registry:5000/web:1.2@sha256:00
        ports: [{containerPort: 9080}, {containerPort: 53, protocol: UDP}]
        env: [{name: A, value: b}, {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cache}
spec:
  selector: {matchLabels: {app: cache}}
  template:
    metadata: {labels: {app: cache}}
    spec:
      containers: [{name: redis, image: redis}]
`

// A Deployment whose image a program stands for runs; what of it does not is said, by file and line.
func TestDeployments(t *testing.T) {
	p, dir := place(t), t.TempDir()
	for name, text := range map[string]string{
		"web.yaml":   twoDeployments,
		"other.yaml": "no object at all",
		AppsFile:     "objects: [web.yaml]\nimages:\n  registry:5000/web: {command: [./web, $(PORT), $(A)], env: {A: a, B: b}}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	f, err := New(dir, &out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Prepare(p)
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v %v", got, err)
	}
	w := got[1]
	if w.Name != "web-2" || w.Namespace != "shop" || w.ServiceAccount != "web-account" || w.Labels["version"] != "v1" || len(w.Ports) != 1 || w.Ports[0].Number != 9080 {
		t.Errorf("%+v", w)
	}
	if w.Metrics == nil || *w.Metrics != (status.Application{Port: 9080, Path: "/metrics"}) || w.MergeMetrics == nil || !*w.MergeMetrics {
		t.Errorf("metrics %v, merged %v", w.Metrics, w.MergeMetrics)
	}
	if want := []string{filepath.Join(dir, "web"), "9080", "b"}; !slices.Equal(w.Command, want) || !slices.Equal(w.Env, []string{"A=b", "B=b"}) {
		t.Errorf("command %q, env %q", w.Command, w.Env)
	}
	for _, want := range []string{
		"web.yaml:10: spec.template.metadata.annotations.sidecar.istio.io/inject: has no effect yet",
		"web.yaml:15: spec.template.spec.containers[0].image: container logs does not run",
		"web.yaml:18: spec.template.spec.containers[1].ports[1].protocol: UDP has no effect yet",
		"web.yaml:19: spec.template.spec.containers[1].env[1].valueFrom: has no effect yet",
		"web.yaml:29: spec.template.spec.containers[0].image: no program stands for redis, so the Deployment does not run",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("not said: %s\nsaid: %s", want, out.String())
		}
	}
}

func TestMetricsOfAnnotations(t *testing.T) {
	for _, c := range []struct {
		annotations map[string]string
		want, said  string
	}{
		{nil, "", ""},
		{map[string]string{"prometheus.io/scrape": "true"}, "80/metrics", ""},
		{map[string]string{"prometheus.io/path": "m", "prometheus.io/port": "81"}, "81/m", ""},
		{map[string]string{"prometheus.io/scrape": "False", "prometheus.io/port": "none"}, "", ""},
		{map[string]string{"prometheus.io/port": "web"}, "", `annotations.prometheus.io: the application's metrics are not merged with the proxy's: prometheus.io/port: "web" is no port`},
		{map[string]string{"prometheus.istio.io/merge-metrics": "maybe"}, "", `merge-metrics: "maybe" is neither true nor false`},
	} {
		a, said := &app{}, ""
		metricsOf(a, c.annotations, func(field, format string, args ...any) { said += field + ": " + fmt.Sprintf(format, args...) })
		if string(a.Metrics) != c.want || a.mergeMetrics != nil || (c.said == "") != (said == "") || !strings.Contains(said, c.said) {
			t.Errorf("%v: %q, said %q", c.annotations, a.Metrics, said)
		}
	}
}

func TestFindImage(t *testing.T) {
	images := map[string]image{"web": {Command: []string{"any"}}, "web:2": {Command: []string{"two"}}, "host:5000/web": {Command: []string{"host"}}}
	for name, want := range map[string]string{
		"web": "any", "web:1": "any", "web:2": "two", "web@sha256:0": "any", "host:5000/web:7": "host", "host:5000/other": "", "host": "",
	} {
		got := ""
		if img := findImage(images, name); img != nil {
			got = img.Command[0]
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestTwoAppsOfOneName(t *testing.T) {
	if err := distinct([]app{{Name: "a", Namespace: "x"}, {Name: "a", Namespace: "y"}}); err == nil || !strings.Contains(err.Error(), "x and y") {
		t.Errorf("%v", err)
	}
}

// samples/bookinfo runs as it stands, and says nothing.
func TestBookinfo(t *testing.T) {
	var out bytes.Buffer
	f, err := New("../samples/bookinfo", &out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Prepare(place(t))
	if err != nil || out.Len() > 0 {
		t.Fatalf("%v\n%s", err, out.String())
	}
	var names []string
	for _, w := range got {
		names = append(names, w.Name)
	}
	slices.Sort(names)
	if want := []string{"details-v1-1", "productpage-v1-1", "ratings-v1-1", "reviews-v1-1", "reviews-v2-1", "reviews-v3-1"}; !slices.Equal(names, want) {
		t.Errorf("%v", names)
	}
}
