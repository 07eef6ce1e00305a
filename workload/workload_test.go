package workload

import (
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/config"
)

func TestParsePort(t *testing.T) {
	for text, want := range map[string]string{
		"3000": "3000=127.77.3.1:3000", "80=9000": "80=127.0.0.1:9000", "80=127.0.0.9:9000": "80=127.0.0.9:9000", "80=[::1]:9000": "80=[::1]:9000",
	} {
		if got, err := ParsePort(text, "127.77.3.1"); err != nil || got.String() != want {
			t.Errorf("%s: %v %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "65536", "http", "80=", "80=0", "80=x:1", "80=1.2.3.4:", "=80", "80=::1:9"} {
		if got, err := ParsePort(text, "127.77.3.1"); err == nil || !strings.Contains(err.Error(), "APP-PORT") {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}

func catalog() Workload {
	p, _ := ParsePort("3000", "127.77.3.3")
	return Workload{
		Name: "catalog-v2-1", Deployment: "catalog-v2", Namespace: "istioinaction", ServiceAccount: "catalog", Labels: map[string]string{"app": "catalog", "version": "v2"},
		Type: Sidecar, IP: "127.77.1.3", AppIP: "127.77.3.3", App: "catalog", Ports: []Port{p}, Env: []string{"X=y"}, Command: []string{"/bin/catalog", "-v"},
	}
}

func TestEntry(t *testing.T) {
	raw, err := catalog().Entry()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kind: WorkloadEntry", "name: catalog-v2-1", "namespace: istioinaction", "address: 127.77.1.3", "app: catalog", "version: v2",
		"security.istio.io/tlsMode: istio", "serviceAccount: catalog"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %q in\n%s", want, raw)
		}
	}
	if set, err := config.Load([]config.File{{Name: "w", Data: raw}}, config.LoadOptions{}); err != nil || len(set.All()) != 1 {
		t.Errorf("not a valid object: %v\n%s", err, raw)
	}
}

func TestProcesses(t *testing.T) {
	w, s := catalog(), Site{Executable: "/bin/lateen", Discovery: "127.77.0.1:15012", RootCert: "/root.pem", Dir: "/state"}
	got := strings.Join(s.Proxy(w, w.ExplicitFlags()...).Args, " ")
	for _, want := range []string{"proxy sidecar --name catalog-v2-1 ", "--label version=v2", "--inbound 3000=127.77.3.3:3000", "--http-proxy 127.77.1.3:15080", "--token-file /state/tokens/catalog-v2-1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	app := s.AppProcess(w, []string{"PATH=/bin"})
	for _, want := range []string{"PATH=/bin", "HTTP_PROXY=http://127.77.1.3:15080", "HOST=127.77.3.3", "PORT=3000", "POD_NAME=catalog-v2-1", "X=y"} {
		if !slices.Contains(app.Env, want) {
			t.Errorf("no %s in %v", want, app.Env)
		}
	}
	w.Type = Outside
	if env := s.AppProcess(w, nil).Env; slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "HTTP_PROXY") }) {
		t.Errorf("outside of the mesh: %v", env)
	}
}

func TestValidate(t *testing.T) {
	if err := catalog().Validate(); err != nil {
		t.Error(err)
	}
	bad := catalog()
	bad.Name, bad.Namespace, bad.IP, bad.Ports = "Catalog", "", "somewhere", append(bad.Ports, bad.Ports...)
	err := bad.Validate()
	for _, want := range []string{"Catalog", "namespace", "somewhere", "3000 is there twice"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestEnvironmentIsClean(t *testing.T) {
	got := CleanEnvironment([]string{"PATH=/bin", "http_proxy=x", "HTTPS_PROXY=x", "ISTIO_META_X=y", "ISTIO_META_LATEEN_ON_DEMAND=false", "LATEEN_STATE=z", "HOME=/h", "SHOW_IMAGE=true"})
	if !slices.Equal(got, []string{"PATH=/bin", "ISTIO_META_LATEEN_ON_DEMAND=false", "HOME=/h"}) {
		t.Errorf("got %v", got)
	}
}
