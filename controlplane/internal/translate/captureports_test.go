package translate

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// A proxy takes redirected connections where its node says that they are redirected to, whatever the mesh says since: the rules for that are made once. Proxies of which
// these differ share nothing.
func TestCapturePorts(t *testing.T) {
	s := meshSnapshot(t, "proxyListenPort: 16001\n", meshObjects)
	keys := map[string]string{}
	for said, want := range map[string][2]string{
		"":            {"portValue: 16001", "portValue: 15006"},
		"15001,15006": {"portValue: 15001", "portValue: 15006"},
		"1501,1506":   {"portValue: 1501", "portValue: 1506"},
	} {
		p, err := model.ParseProxy("sidecar~10.1.0.1~web-1.shop~shop.svc.cluster.local", "", map[string]any{"LABELS": map[string]any{"app": "web"}, "LATEEN_CAPTURE_PORTS": said}, model.Locality{})
		if err != nil {
			t.Fatal(err)
		}
		text := string(toYAML(t, resources(s, p)["listeners"]))
		for _, port := range want {
			if !strings.Contains(text, port+"\n") {
				t.Errorf("%q: no listener has %s", said, port)
			}
		}
		for _, r := range InboundListeners(s, p) {
			if other, twice := keys[r.Key]; twice {
				t.Errorf("%q and %q share %s", said, other, r.Name)
			}
			keys[r.Key] = said
		}
		scope := s.Scope(p)
		if other, twice := keys[scope]; twice {
			t.Errorf("%q and %q are of one scope", said, other)
		}
		keys[scope] = said
	}
	for _, bad := range []string{"1", "1,", "0,1", "1,2,3", "a,b"} {
		if _, err := model.ParseProxy("sidecar~10.1.0.1~web-1.shop~shop.svc.cluster.local", "", map[string]any{"LATEEN_CAPTURE_PORTS": bad}, model.Locality{}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
