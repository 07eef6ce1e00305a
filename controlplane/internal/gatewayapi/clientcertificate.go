package gatewayapi

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/config/credential"
	"github.com/lateen-mesh/lateen/config/schema"
)

// caEntry is the entry of a ConfigMap or a Secret with roots (FrontendTLSValidation.caCertificateRefs).
const caEntry = "ca.crt"

// validation is what a Gateway asks of the certificates of clients at a port: the port's own settings, else those of all ports; nil for nothing.
func (g *gateway) validation(port gatewayv1.PortNumber) *gatewayv1.FrontendTLSValidation {
	if g.spec.TLS == nil || g.spec.TLS.Frontend == nil {
		return nil
	}
	for _, p := range g.spec.TLS.Frontend.PerPort {
		if p.Port == port {
			return p.TLS.Validation
		}
	}
	return g.spec.TLS.Frontend.Default.Validation
}

// clientRoots has a listener's TLS check the certificates of clients, if the Gateway says so, and returns the Secret with the roots that is to be
// made for it. A listener whose roots cannot be had is refused: without the check it would let anybody in.
func (c *conversion) clientRoots(l *listener, tls *networking.ServerTLSSettings) *corev1.Secret {
	v := l.gateway.validation(l.spec.Port)
	if v == nil || layer(l.protocol()) != "TLS" || l.passthrough() {
		return nil
	}
	var roots [][]byte
	for _, ref := range v.CACertificateRefs {
		pem, reason, text := c.roots(l, ref)
		if text != "" {
			l.condition(gatewayv1.ListenerConditionResolvedRefs, false, reason, "spec.tls.frontend: caCertificateRefs: %s", text)
			continue
		}
		roots = append(roots, bytes.TrimSpace(pem))
	}
	if len(roots) == 0 {
		l.refuse(gatewayv1.ListenerReasonNoValidCACertificate, "spec.tls.frontend: there are no roots to check certificates of clients with")
		return nil
	}
	if tls == nil {
		return nil // it is not served for another reason
	}
	tls.Mode = networking.ServerTLSSettings_MUTUAL
	if v.Mode == gatewayv1.AllowInsecureFallback {
		tls.Mode, tls.InsecureSkipVerify = networking.ServerTLSSettings_OPTIONAL_MUTUAL, wrapperspb.Bool(true)
		l.gateway.condition(gatewayv1.GatewayConditionInsecureFrontendValidationMode, true, gatewayv1.GatewayReasonConfigurationChanged,
			"Clients without a certificate, or with one that does not verify, are let in")
	}
	// No user's Secret has a tilde in its name.
	out := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.gateway.object.Namespace, Name: l.gateway.object.Name + "~" + string(l.spec.Name) + "~clients"},
		Data:       map[string][]byte{caEntry: append(bytes.Join(roots, []byte("\n")), '\n')},
	}
	tls.CaCertCredentialName = credentialPrefix + out.Namespace + "/" + out.Name
	return out
}

// roots reads the certificates that a reference names; a text says why there are none.
func (c *conversion) roots(l *listener, ref gatewayv1.ObjectReference) (pem []byte, reason gatewayv1.ListenerConditionReason, text string) {
	own := l.gateway.object.Namespace
	ns, name := string(value(ref.Namespace, gatewayv1.Namespace(own))), string(ref.Name)
	kinds := []string{schema.ConfigMap.Name, schema.Secret.Name}
	if ref.Group != "" || !slices.Contains(kinds, string(ref.Kind)) {
		return nil, gatewayv1.ListenerReasonInvalidCACertificateKind, "only ConfigMaps and Secrets are supported, not " + string(ref.Kind)
	}
	kind := schema.ConfigMap
	if string(ref.Kind) == schema.Secret.Name {
		kind = schema.Secret
	}
	if !c.granted(reference{schema.K8sGateway, own}, reference{kind, ns}, name) {
		return nil, gatewayv1.ListenerReasonRefNotPermitted, "no ReferenceGrant of namespace " + ns + " lets Gateways of namespace " + own + " refer to the " + kind.Name + " " + name
	}
	o := c.set.Get(kind, ns, name)
	if o == nil {
		return nil, gatewayv1.ListenerReasonInvalidCACertificateRef, "there is no " + kind.Name + " " + ns + "/" + name
	}
	switch spec := o.Spec.(type) {
	case *corev1.ConfigMap:
		if pem = []byte(spec.Data[caEntry]); len(pem) == 0 {
			pem = spec.BinaryData[caEntry]
		}
	case *corev1.Secret:
		if pem = []byte(spec.StringData[caEntry]); len(pem) == 0 {
			pem = spec.Data[caEntry]
		}
	}
	found, err := credential.Parse(&corev1.Secret{Data: map[string][]byte{caEntry: pem}})
	if err != nil || found.CA == nil {
		return nil, gatewayv1.ListenerReasonInvalidCACertificateRef, kind.Name + " " + ns + "/" + name + " has no certificates in its entry " + caEntry
	}
	return pem, "", ""
}
