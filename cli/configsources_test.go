package cli

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigSources(t *testing.T) {
	for _, c := range []struct {
		name, mesh string
		flags      controlPlaneFlags
		environ    map[string]string
		want       string // folder and kubeconfig, or what is said
		warned     bool
	}{
		{name: "none", mesh: "trustDomain: a.example", want: " "},
		{name: "a file that is not valid", mesh: "configSources: [{address: 'xds://a'}]\nconnectTimeout: soon", want: " "},
		{name: "a folder", mesh: "configSources: [{address: 'fs:///etc/mesh'}]", want: "/etc/mesh "},
		{name: "a folder and its flag", mesh: "configSources: [{address: 'fs:///etc/mesh'}]", flags: controlPlaneFlags{configDir: "/etc/mesh"}, want: "/etc/mesh "},
		{name: "another flag", mesh: "configSources: [{address: 'fs:///etc/mesh'}]", flags: controlPlaneFlags{configDir: "/srv"}, want: "/srv ", warned: true},
		{name: "a pod", mesh: "configSources: [{address: 'k8s://'}]", environ: map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBECONFIG": "/k"}, want: " in-cluster"},
		{name: "a kubeconfig", mesh: "configSources: [{address: 'k8s:///'}]", environ: map[string]string{"KUBECONFIG": "/k"}, want: " /k"},
		{name: "the usual kubeconfig", mesh: "configSources: [{address: 'k8s://'}]", environ: map[string]string{"HOME": "/home/a"}, want: " /home/a/.kube/config"},
		{name: "a kubeconfig by its flag", mesh: "configSources: [{address: 'k8s://'}]", flags: controlPlaneFlags{kubeconfig: "/f"}, environ: map[string]string{"KUBECONFIG": "/k"}, want: " /f"},
		{name: "both", mesh: "configSources: [{address: 'k8s://'}, {address: 'fs:///etc/mesh'}]", environ: map[string]string{"KUBECONFIG": "/k"}, want: "/etc/mesh /k"},
		{name: "several kubeconfigs", mesh: "configSources: [{address: 'k8s://'}]", environ: map[string]string{"KUBECONFIG": "/k:/l"}, want: "say with --kubeconfig which one"},
		{name: "a server", mesh: "configSources: [{address: 'xds://istiod:15010'}]", want: `configSources[0].address: "xds://istiod:15010" is not supported`},
		{name: "an address of old", mesh: "configSources: [{address: 'fs:///a'}, {address: 'istio-galley:9901'}]", want: `configSources[1].address: "istio-galley:9901" is not supported`},
		{name: "a relative folder", mesh: "configSources: [{address: 'fs://etc/mesh'}]", want: "want fs:// and the absolute path of a folder"},
		{name: "two folders", mesh: "configSources: [{address: 'fs:///a'}, {address: 'fs:///b'}]", want: "there is a folder of objects already, /a"},
		{name: "a cluster by name", mesh: "configSources: [{address: 'k8s://east'}]", want: "--kubeconfig names another"},
		{name: "no address", mesh: "configSources: [{}]", want: `configSources[0].address: "" is not supported`},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "mesh.yaml")
			if err := os.WriteFile(file, []byte(c.mesh), 0o644); err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			s, err := readConfigSources(file)
			if err == nil {
				err = s.apply(&c.flags, slog.New(slog.NewTextHandler(&said, nil)), func(name string) string { return c.environ[name] })
			}
			got := fmt.Sprint(c.flags.configDir, " ", c.flags.kubeconfig)
			if err != nil {
				got = err.Error()
			}
			if got != c.want && (err == nil || !strings.Contains(got, c.want)) || (said.Len() > 0) != c.warned {
				t.Errorf("%q, said %q; want %q", got, said.String(), c.want)
			}
		})
	}
	if s, err := readConfigSources(filepath.Join(t.TempDir(), "mesh.yaml")); err != nil || s.given != nil {
		t.Errorf("no file: %+v, %v", s, err)
	}
}
