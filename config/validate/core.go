package validate

import (
	"errors"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lateen-mesh/lateen/config/credential"
	"github.com/lateen-mesh/lateen/config/internal/field"
	"github.com/lateen-mesh/lateen/config/schema"
)

func service(c *checker, root *field.Path, spec any) {
	s := spec.(*corev1.Service).Spec
	p := root.Child("spec")
	switch s.Type {
	case "", corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
	case corev1.ServiceTypeExternalName:
		c.host(p.Child("externalName"), s.ExternalName, fullyQualified)
	default:
		c.add(p.Child("type"), "%q is not a type; use ClusterIP, NodePort, LoadBalancer or ExternalName", s.Type)
	}
	if len(s.Ports) == 0 && s.Type != corev1.ServiceTypeExternalName && s.ClusterIP != corev1.ClusterIPNone {
		c.add(p.Child("ports"), "missing; a service needs at least one port")
	}
	if ip := s.ClusterIP; ip != "" && ip != corev1.ClusterIPNone {
		if _, err := netip.ParseAddr(ip); err != nil {
			c.add(p.Child("clusterIP"), "%q is neither an address nor None", ip)
		}
	}
	c.labels(p.Child("selector"), s.Selector)
	names := map[string]int{}
	type portKey struct {
		number   int32
		protocol corev1.Protocol
	}
	numbers := map[portKey]int{}
	for i, port := range s.Ports {
		at := p.Child("ports").Index(i)
		c.port(at.Child("port"), int64(port.Port), false)
		protocol := port.Protocol
		switch protocol {
		case "":
			protocol = corev1.ProtocolTCP
		case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
		default:
			c.add(at.Child("protocol"), "%q is not a protocol; use TCP, UDP or SCTP, and appProtocol for what is above it", protocol)
		}
		switch {
		case port.Name == "" && len(s.Ports) > 1:
			c.add(at.Child("name"), "missing; with several ports each needs a name")
		case port.Name != "" && !label1123.MatchString(port.Name):
			c.add(at.Child("name"), "%q is not a port's name: lower-case letters, digits and '-'", port.Name)
		}
		if first, dup := names[port.Name]; dup && port.Name != "" {
			c.add(at.Child("name"), "%q is the name of ports[%d] as well; rename one", port.Name, first)
		}
		names[port.Name] = i
		key := portKey{port.Port, protocol}
		if first, dup := numbers[key]; dup {
			c.add(at.Child("port"), "%d/%s is ports[%d] as well; remove one", port.Port, protocol, first)
		}
		numbers[key] = i
		if port.TargetPort.Type == intstr.Int {
			c.port(at.Child("targetPort"), int64(port.TargetPort.IntVal), true)
		} else if !label1123.MatchString(port.TargetPort.StrVal) || len(port.TargetPort.StrVal) > 15 {
			c.add(at.Child("targetPort"), "%q is neither a port nor the name of one", port.TargetPort.StrVal)
		}
		if port.NodePort != 0 {
			c.port(at.Child("nodePort"), int64(port.NodePort), false)
		}
	}
}

// secret checks what a Secret of type kubernetes.io/tls must hold. Other types hold anything.
func secret(c *checker, root *field.Path, spec any) {
	s := spec.(*corev1.Secret)
	if s.Type != corev1.SecretTypeTLS {
		return
	}
	for _, entry := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		_, inData := s.Data[entry]
		_, inText := s.StringData[entry]
		if !inData && !inText {
			c.add(root.Child("data", entry), "missing; a Secret of type %s needs %s and %s", s.Type, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
		}
	}
	_, err := credential.Parse(s)
	var entry *credential.EntryError
	if errors.As(err, &entry) {
		at := "data"
		if _, ok := s.StringData[entry.Entry]; ok {
			at = "stringData"
		}
		c.add(root.Child(at, entry.Entry), "%s", entry.Reason)
	}
}

func istioOperator(c *checker, root *field.Path, spec any) {
	op := spec.(*schema.IstioOperatorSpec)
	if op.MeshConfig != nil {
		at := root.Child("meshConfig")
		for _, p := range MeshConfig(op.MeshConfig) {
			c.problems = append(c.problems, Problem{Field: at.String() + "." + p.Field, Text: p.Text})
		}
	}
	switch op.Profile {
	case "", "default", "demo", "minimal", "empty", "preview", "remote", "ambient", "openshift", "openshift-ambient", "external", "stable":
	default:
		c.add(root.Child("profile"), "%q is not a profile; use default, demo, minimal or empty", op.Profile)
	}
	if op.Tag != nil {
		switch op.Tag.(type) {
		case string, float64:
		default:
			c.add(root.Child("tag"), "expected text such as 1.24.1")
		}
	}
}
