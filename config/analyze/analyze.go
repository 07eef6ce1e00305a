// Package analyze looks at a whole set of objects and says what does not fit together: a gateway,
// host or subset that nothing defines, ports and hosts in conflict, rules that can never match,
// and fields that have no effect yet. Codes are istioctl's
// (https://istio.io/latest/docs/reference/config/analysis/).
//
// It sees objects as users wrote them and knows nothing of proxies; what an object means on the
// wire is the control plane's business. Command line and control plane may import it. It changes
// nothing and keeps nothing.
package analyze

import (
	"fmt"
	"sort"
	"strings"
	"time"

	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

// Severity orders messages.
type Severity int

// The severities. Refuse is for what no sequence of further changes makes right without touching
// the object or what it names: `lateen apply` writes nothing then.
const (
	Info Severity = iota
	Warning
	Error
	Refuse
)

// String returns istioctl's word.
func (s Severity) String() string {
	switch s {
	case Info:
		return "Info"
	case Warning:
		return "Warning"
	}
	return "Error"
}

// Codes are istioctl's; those that begin with LAT are ours.
const (
	NotFound            = "IST0101" // ReferencedResourceNotFound
	ConflictingHosts    = "IST0109" // ConflictingMeshGatewayVirtualServiceHosts
	ConflictingSidecars = "IST0111" // MultipleSidecarsWithoutWorkloadSelectors
	PortRequired        = "IST0112" // VirtualServiceDestinationPortSelectorRequired
	PortNaming          = "IST0118" // PortNameIsNotUnderNamingConvention
	NoVerification      = "IST0128" // NoServerCertificateVerificationDestinationLevel
	UnreachableRule     = "IST0130" // VirtualServiceUnreachableRule
	IneffectiveMatch    = "IST0131" // VirtualServiceIneffectiveMatch
	HostNotInGateway    = "IST0132" // VirtualServiceHostNotFoundInGateway
	AddressesRequired   = "IST0134" // ServiceEntryAddressesRequired
	ConflictingGateways = "IST0145" // ConflictingGateways
	TelemetryConflict   = "IST0160" // MultipleTelemetriesWithoutWorkloadSelectors
	InvalidCredential   = "IST0161" // InvalidGatewayCredential
	GatewayPortNotOpen  = "IST0162" // GatewayPortNotDefinedOnService
	SubsetSelectsNone   = "IST0173" // DestinationRuleSubsetNotSelectPods
	NoEffect            = "LAT0001" // a field that parses and is stored, and does nothing yet
	UnknownProvider     = "LAT0003" // a provider is named that the mesh's settings do not define
	ExpiredCredential   = "LAT0004" // the certificate in a gateway's Secret is not valid now
	IngressConflict     = "LAT0005" // two Ingresses ask for the same, of which one gets it
	PolicyConflict      = "LAT0002" // two policies for the same workloads, of which one counts
)

// Message is one finding.
type Message struct {
	Code     string
	Severity Severity
	Key      config.Key
	Field    string
	File     string
	Line     int
	Text     string
}

// String returns istioctl's form:
// Error [IST0101] (VirtualService default/reviews reviews.yaml:12) Referenced gateway not found: "x".
func (m Message) String() string {
	at := ""
	if m.File != "" {
		at = fmt.Sprintf(" %s:%d", m.File, m.Line)
	}
	return fmt.Sprintf("%s [%s] (%s%s) %s", m.Severity, m.Code, m.Key, at, m.Text)
}

// Problem returns the message as config reports mistakes: file:line: field: text.
func (m Message) Problem() config.Problem {
	return config.Problem{File: m.File, Line: m.Line, Key: m.Key, Field: m.Field, Text: m.Text}
}

// Options say what surrounds the objects.
type Options struct {
	// Mesh is the mesh's settings; nil stands for the defaults. ConfigMap istio-system/istio
	// in the set counts before it.
	Mesh *mesh.MeshConfig
	// Now judges certificates. Zero means the present.
	Now time.Time
	// Domain is the suffix of services' names. Empty means cluster.local.
	Domain string
}

// Set returns all messages about a set of objects, except NoEffect ones, ordered by file, line
// and object.
func Set(s *config.Set, opts Options) []Message {
	a := &analyzer{set: s, opts: opts}
	if a.opts.Domain == "" {
		a.opts.Domain = "cluster.local"
	}
	if a.opts.Now.IsZero() {
		a.opts.Now = time.Now()
	}
	a.index()
	for _, o := range s.List(schema.VirtualService) {
		a.virtualService(o)
	}
	a.meshHosts()
	for _, o := range s.List(schema.Gateway) {
		a.gateway(o)
	}
	a.gatewayConflicts()
	a.gatewayAPI()
	a.ingresses()
	a.targets()
	for _, o := range s.List(schema.DestinationRule) {
		a.destinationRule(o)
	}
	for _, o := range s.List(schema.ServiceEntry) {
		a.serviceEntry(o)
	}
	for _, o := range s.List(schema.Service) {
		a.service(o)
	}
	for _, o := range s.List(schema.Telemetry) {
		a.providers(o)
	}
	a.namespaceWide()
	sort.SliceStable(a.messages, func(i, j int) bool {
		x, y := a.messages[i], a.messages[j]
		if x.File != y.File {
			return x.File < y.File
		}
		return x.Line < y.Line
	})
	return a.messages
}

type analyzer struct {
	set      *config.Set
	opts     Options
	messages []Message

	services map[string]*service // by host
	wildcard []*service
	gateways map[string]*config.Object // by namespace/name
	rules    map[string][]*config.Object
}

func (a *analyzer) add(o *config.Object, code string, sev Severity, field, format string, args ...any) {
	a.messages = append(a.messages, Message{
		Code: code, Severity: sev, Key: o.Key(), Field: field, File: o.Source.File, Line: o.Position(field), Text: fmt.Sprintf(format, args...),
	})
}

// nearest returns ", did you mean x?" for the candidate that is closest to the word, or a list
// of the first candidates.
func hint(word string, candidates []string) string {
	if len(candidates) == 0 {
		return ""
	}
	sort.Strings(candidates)
	for _, c := range candidates {
		if schema.Near(word, c) {
			return fmt.Sprintf("; did you mean %s?", c)
		}
	}
	const most = 5
	if len(candidates) > most {
		return fmt.Sprintf("; there are %s and %d more", strings.Join(candidates[:most], ", "), len(candidates)-most)
	}
	return fmt.Sprintf("; there is %s", strings.Join(candidates, ", "))
}

func indexed(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }
