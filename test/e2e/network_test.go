package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Split horizon: webapp's network does not reach catalog's but through the gateway, which passes the mesh's TLS on by the server's name. The identities are those of
// the workloads, as without it.
func TestNetworks(t *testing.T) {
	m := shared
	gateway := m.address(t, "istio-ingressgateway-1")
	m.applyText(t, fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  meshNetworks: |
    networks:
      west:
        endpoints: [{fromCidr: %s/32}]
      east:
        endpoints: [{fromCidr: %s/32}, {fromCidr: %s/32}]
        gateways: [{address: %s, port: 15443}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: cross-network, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 15443, name: tls, protocol: TLS}
    bind: %s
    hosts: ["*.local"]
    tls: {mode: AUTO_PASSTHROUGH}
`, m.address(t, "webapp-1"), m.address(t, "catalog-v1-1"), m.address(t, "catalog-v2-1"), gateway, gateway))
	passed := func() (string, error) {
		a, err := fetch(m.client, "http://"+gateway+":15000/stats?filter=outbound_.80_._.catalog.*upstream_cx_total", "")
		return strings.TrimSpace(a.body), err
	}
	eventually(t, settleTime, func() error {
		if out := m.must(t, "proxy-config", "endpoints", "deploy/webapp.istioinaction"); !strings.Contains(out, gateway+":15443") {
			return errors.New("webapp knows no gateway of catalog's network:\n" + out)
		}
		// The gateway may still be about to listen there.
		a, err := m.get(webappHost, "/api/catalog")
		if err == nil && a.code != http.StatusOK {
			err = fmt.Errorf("%d %.200s", a.code, a.body)
		}
		if err != nil {
			return err
		}
		text, err := passed()
		if err == nil && (text == "" || strings.HasSuffix(text, ": 0")) {
			err = fmt.Errorf("no connection has come through the gateway: %q", text)
		}
		return err
	})
	for range 20 {
		if a := m.mustGet(t, webappHost, "/api/catalog"); a.code != http.StatusOK {
			t.Fatalf("%d %.200s", a.code, a.body)
		}
	}
}
