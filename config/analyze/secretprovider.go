package analyze

import (
	"fmt"
	"strings"

	mesh "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/credential"
)

// providerPrefix begins a credentialName that a provider of the mesh's settings serves (extensionProviders.sds).
const providerPrefix = "sds://"

// secretProvider finds a credentialName that names no provider, or one whose service there is not. Names without the prefix are none of its business.
func (a *analyzer) secretProvider(o *config.Object, field, name, consequence string) {
	provider, ok := strings.CutPrefix(name, providerPrefix)
	if !ok {
		return
	}
	sds := secretServer(a.mesh(), provider)
	if sds == nil {
		a.add(o, UnknownProvider, Error, field, "the mesh's settings define no provider with sds.name %q; %s", provider, consequence)
		return
	}
	if host := sds.Service[strings.LastIndexByte(sds.Service, '/')+1:]; a.services[host] == nil {
		a.add(o, NotFound, Error, field, "provider %q serves by service %s, which there is not; %s", provider, host, consequence)
	}
}

// secretServer is the provider of a certificate, or of roots: by their own name, or by that of the certificate that they go with.
func secretServer(mc *mesh.MeshConfig, name string) *mesh.MeshConfig_ExtensionProvider_SDSProvider {
	for _, n := range []string{name, strings.TrimSuffix(name, credential.CASuffix)} {
		for _, p := range mc.GetExtensionProviders() {
			if sds := p.GetSds(); sds.GetName() == n && sds != nil {
				return sds
			}
		}
	}
	return nil
}

// clientCredentials looks at what a DestinationRule's clients show and trust.
func (a *analyzer) clientCredentials(o *config.Object, dr *networking.DestinationRule) {
	check := func(field string, t *networking.ClientTLSSettings) {
		a.secretProvider(o, field+".tls.credentialName", t.GetCredentialName(), "nothing can be connected to")
	}
	policy := func(field string, p *networking.TrafficPolicy) {
		check(field, p.GetTls())
		for i, port := range p.GetPortLevelSettings() {
			check(fmt.Sprintf("%s.portLevelSettings[%d]", field, i), port.GetTls())
		}
	}
	policy("spec.trafficPolicy", dr.TrafficPolicy)
	for i, sub := range dr.Subsets {
		policy(indexed("spec.subsets", i)+".trafficPolicy", sub.GetTrafficPolicy())
	}
}
