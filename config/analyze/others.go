package analyze

//lint:file-ignore SA1019 People's configurations still have the older fields.

import (
	"fmt"
	"slices"
	"strings"

	mesh "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

func (a *analyzer) destinationRule(o *config.Object) {
	dr := o.Spec.(*networking.DestinationRule)
	host := a.resolve(dr.Host, o.Namespace)
	if strings.HasPrefix(host, "*") {
		return
	}
	s := a.find(host)
	if s == nil {
		tip := hint(dr.Host, a.hosts(o.Namespace))
		if full := a.services[host+".svc."+a.opts.Domain]; full != nil {
			tip = "; write " + full.host
		}
		a.add(o, NotFound, Error, "spec.host", "there is no service %s, so the rule has no effect%s", host, tip)
		return
	}
	if workloads := a.workloads(s); len(workloads) > 0 {
		for i, sub := range dr.Subsets {
			if !slices.ContainsFunc(workloads, func(l map[string]string) bool { return selects(sub.Labels, l) }) {
				a.add(o, SubsetSelectsNone, Error, indexed("spec.subsets", i)+".labels", "no workload of %s has the labels %s, so requests for subset %q are answered with 503 (UH)",
					host, schema.LabelString(sub.Labels), sub.Name)
			}
		}
	}
	a.verification(o, "spec.trafficPolicy.tls", dr.TrafficPolicy.GetTls())
	a.clientCredentials(o, dr)
}

func (a *analyzer) verification(o *config.Object, field string, t *networking.ClientTLSSettings) {
	if t == nil || t.Mode != networking.ClientTLSSettings_SIMPLE && t.Mode != networking.ClientTLSSettings_MUTUAL {
		return
	}
	if t.CaCertificates == "" && t.CredentialName == "" && !t.InsecureSkipVerify.GetValue() {
		a.add(o, NoVerification, Warning, field, "mode %s without caCertificates: the server's certificate is checked against the system's CAs only, if at all", t.Mode)
	}
}

func (a *analyzer) serviceEntry(o *config.Object) {
	se := o.Spec.(*networking.ServiceEntry)
	if len(se.Addresses) > 0 {
		return
	}
	for i, p := range se.Ports {
		switch strings.ToUpper(p.Protocol) {
		case "", "TCP":
			a.add(o, AddressesRequired, Warning, indexed("spec.ports", i)+".protocol", "port %d carries plain TCP, which has no host name; without spec.addresses it takes connections to any address on that port", p.Number)
		}
	}
}

// portPrefixes are the protocols that a Service port's name may begin with.
var portPrefixes = []string{"http", "https", "http2", "grpc", "grpc-web", "mongo", "mysql", "redis", "tcp", "tls", "udp"}

func (a *analyzer) service(o *config.Object) {
	svc := o.Spec.(*corev1.Service)
	for i, p := range svc.Spec.Ports {
		if p.AppProtocol != nil || p.Protocol == corev1.ProtocolUDP || p.Protocol == corev1.ProtocolSCTP {
			continue
		}
		prefix, _, _ := strings.Cut(p.Name, "-")
		if !slices.Contains(portPrefixes, prefix) && !strings.HasPrefix(p.Name, "grpc-web") {
			a.add(o, PortNaming, Info, indexed("spec.ports", i)+".name", "the name %q does not begin with a protocol (http, tcp, ...); the protocol is detected on each connection", p.Name)
		}
	}
}

// builtinProviders exist without being defined.
// https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-extension_providers
var builtinProviders = []string{"envoy", "prometheus"}

// knownProviders are the names by which providers can be referred to.
func knownProviders(mc *mesh.MeshConfig) []string {
	known := slices.Clone(builtinProviders)
	for _, p := range mc.GetExtensionProviders() {
		known = append(known, p.Name)
	}
	return known
}

// unknownProviders reports the default providers that the mesh's settings do not define.
func unknownProviders(mc *mesh.MeshConfig, report func(field, text string)) {
	known, d := knownProviders(mc), mc.GetDefaultProviders()
	for _, l := range []struct {
		field string
		names []string
	}{{"accessLogging", d.GetAccessLogging()}, {"metrics", d.GetMetrics()}, {"tracing", d.GetTracing()}} {
		for i, name := range l.names {
			if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) }) {
				report(indexed("data.mesh.defaultProviders."+l.field, i), fmt.Sprintf("there is no provider %q in extensionProviders, so it has no effect%s", name, hint(name, slices.Clone(known))))
			}
		}
	}
}

func (a *analyzer) providers(o *config.Object) {
	known := knownProviders(a.mesh())
	check := func(field string, refs []*telemetry.ProviderRef) {
		for i, r := range refs {
			if !slices.Contains(known, r.GetName()) {
				a.add(o, UnknownProvider, Warning, indexed(field+".providers", i)+".name", "the mesh's settings define no extension provider %q, so this has no effect%s", r.GetName(), hint(r.GetName(), slices.Clone(known)))
				continue
			}
			if service := providerService(a.mesh(), r.GetName()); service != "" && a.services[service] == nil {
				a.add(o, NotFound, Warning, indexed(field+".providers", i)+".name", "provider %q sends to service %s, which there is not, so nothing is sent%s", r.GetName(), service, hint(service, a.hosts(o.Namespace)))
			}
		}
	}
	t := o.Spec.(*telemetry.Telemetry)
	for i, l := range t.AccessLogging {
		check(indexed("spec.accessLogging", i), l.Providers)
	}
	for i, m := range t.Metrics {
		check(indexed("spec.metrics", i), m.Providers)
	}
	for i, tr := range t.Tracing {
		check(indexed("spec.tracing", i), tr.Providers)
	}
}

// providerService is the host of the service that a provider of logs or spans sends to; "" for one that sends to none.
func providerService(mc *mesh.MeshConfig, name string) string {
	for _, p := range mc.GetExtensionProviders() {
		if p.Name != name {
			continue
		}
		var service string
		switch k := p.Provider.(type) {
		case *mesh.MeshConfig_ExtensionProvider_EnvoyHttpAls:
			service = k.EnvoyHttpAls.GetService()
		case *mesh.MeshConfig_ExtensionProvider_EnvoyTcpAls:
			service = k.EnvoyTcpAls.GetService()
		case *mesh.MeshConfig_ExtensionProvider_EnvoyOtelAls:
			service = k.EnvoyOtelAls.GetService()
		case *mesh.MeshConfig_ExtensionProvider_Zipkin:
			service = k.Zipkin.GetService()
		case *mesh.MeshConfig_ExtensionProvider_Skywalking:
			service = k.Skywalking.GetService()
		case *mesh.MeshConfig_ExtensionProvider_Lightstep:
			service = k.Lightstep.GetService()
		case *mesh.MeshConfig_ExtensionProvider_Datadog:
			service = k.Datadog.GetService()
		case *mesh.MeshConfig_ExtensionProvider_Opentelemetry:
			service = k.Opentelemetry.GetService()
		}
		return service[strings.LastIndexByte(service, '/')+1:]
	}
	return ""
}

// mesh returns the mesh's settings, nil if none are known.
func (a *analyzer) mesh() *mesh.MeshConfig {
	if o := a.set.Get(schema.ConfigMap, "istio-system", "istio"); o != nil {
		if mc, err := config.ParseMeshConfig(config.File{Data: []byte(o.Spec.(*corev1.ConfigMap).Data["mesh"])}); err == nil {
			return mc
		}
	}
	return a.opts.Mesh
}

// namespaceWide finds kinds of which a namespace may have only one without a selector.
func (a *analyzer) namespaceWide() {
	check := func(kind *schema.Kind, code string, wide func(*config.Object) bool) {
		first := map[string]*config.Object{}
		for _, o := range a.set.List(kind) {
			if !wide(o) {
				continue
			}
			if f := first[o.Namespace]; f != nil {
				a.add(o, code, Error, "metadata.name", "%s %s is for the whole namespace %s as well; only the older one counts. Merge them, or give one a selector", kind.Name, f.Name, o.Namespace)
				continue
			}
			first[o.Namespace] = o
		}
	}
	check(schema.Sidecar, ConflictingSidecars, func(o *config.Object) bool {
		return len(o.Spec.(*networking.Sidecar).WorkloadSelector.GetLabels()) == 0
	})
	check(schema.Telemetry, TelemetryConflict, func(o *config.Object) bool {
		t := o.Spec.(*telemetry.Telemetry)
		return len(t.Selector.GetMatchLabels()) == 0 && t.TargetRef == nil && len(t.TargetRefs) == 0
	})
	check(schema.PeerAuthentication, PolicyConflict, func(o *config.Object) bool {
		return len(o.Spec.(*security.PeerAuthentication).Selector.GetMatchLabels()) == 0
	})
}
