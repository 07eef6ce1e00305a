package gatewayapi

import (
	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/config/credential"
	"github.com/lateen-mesh/lateen/config/schema"
)

// credentialPrefix begins the names of certificates that a Gateway refers to, "kubernetes-gateway://namespace/name", as in Istio. Whether it
// may refer to them has been decided here.
const credentialPrefix = "kubernetes-gateway://"

// serverTLS is the TLS of a listener; nil for one in the clear. The second result is false when it lacks what it needs.
func (c *conversion) serverTLS(l *listener) (*networking.ServerTLSSettings, bool) {
	if layer(l.protocol()) != "TLS" {
		return nil, true
	}
	if l.passthrough() {
		return &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_PASSTHROUGH}, true
	}
	out := &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_SIMPLE}
	if l.spec.TLS == nil || len(l.spec.TLS.CertificateRefs) == 0 {
		l.condition(gatewayv1.ListenerConditionResolvedRefs, false, gatewayv1.ListenerReasonInvalidCertificateRef, "tls.certificateRefs is missing: name the Secret with the certificate")
		return nil, false
	}
	for i, ref := range l.spec.TLS.CertificateRefs {
		name, reason, text := c.certificate(l, ref)
		if text != "" {
			l.condition(gatewayv1.ListenerConditionResolvedRefs, false, reason, "tls.certificateRefs[%d]: %s", i, text)
			return nil, false
		}
		out.CredentialNames = append(out.CredentialNames, name)
	}
	return out, true
}

// certificate finds the Secret of a reference; a text says why it cannot be used.
func (c *conversion) certificate(l *listener, ref gatewayv1.SecretObjectReference) (name string, reason gatewayv1.ListenerConditionReason, text string) {
	own := l.gateway.object.Namespace
	if value(ref.Group, "") != "" || value(ref.Kind, "Secret") != "Secret" {
		return "", gatewayv1.ListenerReasonInvalidCertificateRef, "only Secrets are supported"
	}
	ns := string(value(ref.Namespace, gatewayv1.Namespace(own)))
	if !c.granted(reference{schema.K8sGateway, own}, reference{schema.Secret, ns}, string(ref.Name)) {
		return "", gatewayv1.ListenerReasonRefNotPermitted, "no ReferenceGrant of namespace " + ns + " lets Gateways of namespace " + own + " refer to the Secret " + string(ref.Name)
	}
	o := c.set.Get(schema.Secret, ns, string(ref.Name))
	if o == nil {
		return "", gatewayv1.ListenerReasonInvalidCertificateRef, "there is no Secret " + ns + "/" + string(ref.Name)
	}
	found, err := credential.Parse(o.Spec.(*corev1.Secret))
	switch {
	case err != nil:
		return "", gatewayv1.ListenerReasonInvalidCertificateRef, "Secret " + ns + "/" + string(ref.Name) + ": " + err.Error()
	case found.Certificate == nil || found.Key == nil:
		return "", gatewayv1.ListenerReasonInvalidCertificateRef, "Secret " + ns + "/" + string(ref.Name) + " has no certificate with its key (tls.crt and tls.key)"
	}
	return credentialPrefix + ns + "/" + string(ref.Name), "", ""
}
