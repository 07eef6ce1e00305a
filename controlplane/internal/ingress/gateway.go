package ingress

import (
	"fmt"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/ingress"
	"github.com/lateen-mesh/lateen/config/schema"
)

// gatewayName is the name of an Ingress's Gateway without its end. It stands in the namespace of the proxies.
func gatewayName(o *config.Object) string { return o.Name + "~" + o.Namespace }

// gateway makes the Gateway of an Ingress: one server for requests in the clear, shared with all Ingresses by what Gateways of one port share, and one for each
// element of its tls. The Secrets are those of the proxies' namespace, as with any Gateway.
func (c *conversion) gateway(o *config.Object, spec *networkingv1.IngressSpec) {
	gw := &networking.Gateway{Selector: c.settings.GatewaySelector()}
	for i := range spec.TLS {
		tls := &spec.TLS[i]
		if tls.SecretName == "" {
			continue // there is no certificate to show
		}
		hosts := tls.Hosts
		if len(hosts) == 0 {
			hosts = []string{anyHost}
		}
		gw.Servers = append(gw.Servers, &networking.Server{
			Port:  &networking.Port{Number: 443, Protocol: "HTTPS", Name: fmt.Sprintf("https-443-ingress-%s-%s-%d", o.Name, o.Namespace, i)},
			Hosts: hosts,
			Tls:   &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_SIMPLE, CredentialName: tls.SecretName},
		})
	}
	gw.Servers = append(gw.Servers, &networking.Server{
		Port:  &networking.Port{Number: 80, Protocol: "HTTP", Name: fmt.Sprintf("http-80-ingress-%s-%s", o.Name, o.Namespace)},
		Hosts: []string{anyHost},
	})
	c.emit(schema.Gateway, ingress.Namespace, gatewayName(o), o, gw)
}
