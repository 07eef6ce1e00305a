package gatewayapi

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/pkg/certtest"
)

// Of two Gateways that ask for one hostname with TLS at one port the older has it, and the younger says so.
func TestHostnameOfTwoGateways(t *testing.T) {
	pair := certtest.New(t).Issue(t, certtest.Names("web.example.com"))
	gateway := func(name, created string) string {
		return "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: " + name + ", creationTimestamp: " + created + "}\nspec:\n" +
			"  gatewayClassName: istio\n  listeners: [{name: web, port: 443, protocol: HTTPS, hostname: web.example.com, tls: {certificateRefs: [{name: pair}]}}]\n"
	}
	objects := parse(t, certtest.Secret("default", "pair", "kubernetes.io/tls", map[string][]byte{"tls.crt": pair.Chain, "tls.key": pair.Key})+
		"---\napiVersion: v1\nkind: Service\nmetadata: {name: gw}\nspec: {selector: {gateway: x}, ports: [{port: 443}]}\n"+
		gateway("a-younger", "2024-01-02T00:00:00Z")+gateway("older", "2024-01-01T00:00:00Z"))
	r := API{Options{SharedGateway: "default/gw"}}.Convert(config.NewSet(objects...))
	if len(r.Objects) != 1 || !strings.HasPrefix(r.Objects[0].Name, "older-") {
		t.Errorf("served: %v", r.Objects)
	}
	status := string(r.Status[config.Key{Kind: schema.K8sGateway, Namespace: "default", Name: "a-younger"}])
	if !strings.Contains(status, "port 443 is taken for hostname web.example.com by Gateway default/older") {
		t.Error(status)
	}
}
