package gatewayapi

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/derived"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestConvert converts each file of testdata and compares the objects and the status with the .want file beside it. Refresh with:
// go test ./controlplane/internal/gatewayapi -run TestConvert -update
func TestConvert(t *testing.T) {
	names, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(names) < 5 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yaml"), func(t *testing.T) {
			got := show(t, API{Options{SharedGateway: "istio-system/istio-ingressgateway"}}.Convert(load(t, name)))
			golden := strings.TrimSuffix(name, ".yaml") + ".want"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func load(t *testing.T, name string) *config.Set {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	set, err := config.Load([]config.File{{Name: name, Data: data}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// show writes a result down: objects as YAML, and of a status what people look for, a line for each condition.
func show(t *testing.T, r derived.Result) string {
	t.Helper()
	var b strings.Builder
	for _, o := range r.Objects {
		m, err := o.Map()
		if err != nil {
			t.Fatal(err)
		}
		delete(m, "metadata")
		if o.Kind.HasSpec {
			m = m["spec"].(map[string]any)
		}
		text, err := yaml.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "# %s, from %s\n%s---\n", o, o.Annotations["internal.istio.io/parents"], text)
	}
	keys := map[string]json.RawMessage{}
	for k, raw := range r.Status {
		keys[k.Kind.Name+" "+k.Namespace+"/"+k.Name] = raw
	}
	for _, k := range sorted(keys) {
		fmt.Fprintf(&b, "# %s\n", k)
		var st struct {
			Addresses  []struct{ Value string }
			Conditions []condition
			Listeners  []struct {
				Name           string
				AttachedRoutes int
				SupportedKinds []struct{ Kind string }
				Conditions     []condition
			}
			Parents []struct {
				ParentRef      map[string]any
				ControllerName string
				Conditions     []condition
			}
		}
		if err := json.Unmarshal(keys[k], &st); err != nil {
			t.Fatal(err)
		}
		for _, a := range st.Addresses {
			fmt.Fprintf(&b, "address %s\n", a.Value)
		}
		list(&b, "", st.Conditions)
		for _, l := range st.Listeners {
			fmt.Fprintf(&b, "listener %s, routes attached: %d, kinds: %v\n", l.Name, l.AttachedRoutes, l.SupportedKinds)
			list(&b, "  ", l.Conditions)
		}
		for _, p := range st.Parents {
			fmt.Fprintf(&b, "parent %v of %s\n", p.ParentRef, p.ControllerName)
			list(&b, "  ", p.Conditions)
		}
	}
	return b.String()
}

type condition struct{ Type, Status, Reason, Message string }

func list(b *strings.Builder, indent string, all []condition) {
	for _, c := range all {
		fmt.Fprintf(b, "%s%s %s %s: %s\n", indent, c.Type, c.Status, c.Reason, c.Message)
	}
}
