package validate

import (
	"net/netip"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

func serviceEntry(c *checker, root *field.Path, spec any) {
	se := spec.(*networking.ServiceEntry)
	if len(se.Hosts) == 0 {
		c.add(root.Child("hosts"), "missing; name the hosts of the service")
	}
	seen := map[string]bool{}
	wild := false
	for i, h := range se.Hosts {
		at := root.Child("hosts").Index(i)
		c.host(at, h, externalWild)
		wild = wild || strings.HasPrefix(h, "*")
		if seen[h] {
			c.add(at, "%q is given twice; remove one", h)
		}
		seen[h] = true
	}
	prefix := false
	for i, a := range se.Addresses {
		c.cidr(root.Child("addresses").Index(i), a)
		prefix = prefix || strings.Contains(a, "/")
	}
	ports := c.entryPorts(root.Child("ports"), se)
	if se.WorkloadSelector != nil && len(se.Endpoints) > 0 {
		c.add(root.Child("workloadSelector"), "cannot be combined with endpoints; remove one")
	}
	if se.WorkloadSelector != nil {
		c.selectorLabels(root.Child("workloadSelector", "labels"), se.WorkloadSelector.Labels)
	}
	dns := se.Resolution == networking.ServiceEntry_DNS || se.Resolution == networking.ServiceEntry_DNS_ROUND_ROBIN
	switch {
	case se.Resolution == networking.ServiceEntry_NONE && len(se.Endpoints) > 0:
		c.add(root.Child("endpoints"), "have no meaning with resolution NONE; use STATIC or DNS")
	case se.Resolution == networking.ServiceEntry_STATIC && len(se.Endpoints) == 0 && se.WorkloadSelector == nil:
		// With addresses it is a host that clients may know before it has endpoints.
		if len(se.Addresses) == 0 {
			c.add(root.Child("endpoints"), "missing; resolution STATIC needs endpoints or a workloadSelector")
		}
	case dns && len(se.Endpoints) == 0 && se.WorkloadSelector == nil && wild:
		c.add(root.Child("hosts"), "a wildcard cannot be resolved; name the host in full, or give endpoints")
	case se.Resolution == networking.ServiceEntry_DNS_ROUND_ROBIN && len(se.Endpoints) > 1:
		c.add(root.Child("endpoints"), "%d are too many for DNS_ROUND_ROBIN, which resolves one name; use DNS", len(se.Endpoints))
	case se.Resolution == networking.ServiceEntry_DYNAMIC_DNS && !allWild(se.Hosts):
		c.add(root.Child("hosts"), "DYNAMIC_DNS is for wildcard hosts alone; use DNS")
	case se.Resolution == networking.ServiceEntry_DYNAMIC_DNS && (len(se.Endpoints) > 0 || se.WorkloadSelector != nil):
		c.add(root, "DYNAMIC_DNS has neither endpoints nor a workloadSelector: each request goes to the host that it names; use STATIC or DNS")
	case dns && prefix:
		c.add(root.Child("addresses"), "subnets have no meaning with resolution %s; give single addresses", se.Resolution)
	}
	for i, e := range se.Endpoints {
		at := root.Child("endpoints").Index(i)
		c.endpoint(at, e, ports, dns)
		if strings.HasPrefix(e.Address, "unix://") {
			if dns {
				c.add(at.Child("address"), "a Unix socket has no name to resolve; use resolution STATIC")
			}
			if len(se.Ports) != 1 {
				c.add(at.Child("address"), "a Unix socket is one endpoint, for one port; the entry has %d", len(se.Ports))
			}
		}
	}
	c.exportTo(root.Child("exportTo"), se.ExportTo)
}

func allWild(hosts []string) bool {
	for _, h := range hosts {
		if !strings.HasPrefix(h, "*") {
			return false
		}
	}
	return true
}

// entryPorts checks the ports and returns their names.
func (c *checker) entryPorts(p *field.Path, se *networking.ServiceEntry) map[string]bool {
	if len(se.Ports) == 0 {
		c.add(p, "missing; name at least one port")
	}
	names, numbers := map[string]bool{}, map[uint32]bool{}
	for i, port := range se.Ports {
		at := p.Index(i)
		c.port(at.Child("number"), int64(port.Number), false)
		c.port(at.Child("targetPort"), int64(port.TargetPort), true)
		if port.Name == "" {
			c.add(at.Child("name"), "missing; a port needs a name")
		} else if names[port.Name] {
			c.add(at.Child("name"), "%q is the name of two ports; rename one", port.Name)
		}
		if numbers[port.Number] {
			c.add(at.Child("number"), "%d is given twice; remove one", port.Number)
		}
		if port.Protocol != "" {
			c.protocol(at.Child("protocol"), port.Protocol)
		}
		names[port.Name], numbers[port.Number] = true, true
	}
	return names
}

func (c *checker) endpoint(p *field.Path, e *networking.WorkloadEntry, ports map[string]bool, dns bool) {
	c.workload(p, e, dns)
	for name := range e.Ports {
		if !ports[name] {
			c.add(p.Child("ports", name), "the service has no port of this name")
		}
	}
}

func workloadEntry(c *checker, root *field.Path, spec any) {
	c.workload(root, spec.(*networking.WorkloadEntry), true)
}

// workload checks one endpoint. name allows a host name in place of an address.
func (c *checker) workload(p *field.Path, e *networking.WorkloadEntry, name bool) {
	at := p.Child("address")
	switch {
	case e.Address == "" && e.Network == "":
		c.add(at, "missing; give the address of the workload")
	case e.Address == "":
	case strings.HasPrefix(e.Address, "unix://"):
		if path := strings.TrimPrefix(e.Address, "unix://"); !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "@") {
			c.add(at, "%q: the path of a socket must be absolute", e.Address)
		}
		if len(e.Ports) > 0 {
			c.add(p.Child("ports"), "have no meaning for a Unix socket; remove them")
		}
	default:
		if _, err := netip.ParseAddr(e.Address); err == nil {
			break
		}
		if !name {
			c.add(at, "%q is not an IP address; use one, or resolution DNS", e.Address)
		} else {
			c.host(at, e.Address, plainHost)
		}
	}
	for n, port := range e.Ports {
		if n == "" {
			c.add(p.Child("ports"), "a port needs a name")
		}
		c.port(p.Child("ports", n), int64(port), false)
	}
	c.labels(p.Child("labels"), e.Labels)
}

func workloadGroup(c *checker, root *field.Path, spec any) {
	wg := spec.(*networking.WorkloadGroup)
	if wg.Template == nil {
		c.add(root.Child("template"), "missing; describe the workloads of the group")
		return
	}
	if wg.Metadata != nil {
		c.labels(root.Child("metadata", "labels"), wg.Metadata.Labels)
	}
	c.labels(root.Child("template", "labels"), wg.Template.Labels)
	for n, port := range wg.Template.Ports {
		c.port(root.Child("template", "ports", n), int64(port), false)
	}
	c.probe(root.Child("probe"), wg.Probe)
}

// probe checks a readiness probe, which may be nil.
func (c *checker) probe(at *field.Path, pr *networking.ReadinessProbe) {
	if pr != nil {
		for name, v := range map[string]int32{"initialDelaySeconds": pr.InitialDelaySeconds, "timeoutSeconds": pr.TimeoutSeconds,
			"periodSeconds": pr.PeriodSeconds, "successThreshold": pr.SuccessThreshold, "failureThreshold": pr.FailureThreshold} {
			if v < 0 {
				c.add(at.Child(name), "%d is negative", v)
			}
		}
		switch m := pr.HealthCheckMethod.(type) {
		case nil:
			c.add(at, "no way to probe; set httpGet, tcpSocket, grpc or exec")
		case *networking.ReadinessProbe_HttpGet:
			c.port(at.Child("httpGet", "port"), int64(m.HttpGet.GetPort()), false)
		case *networking.ReadinessProbe_TcpSocket:
			c.port(at.Child("tcpSocket", "port"), int64(m.TcpSocket.GetPort()), false)
		case *networking.ReadinessProbe_Grpc:
			c.port(at.Child("grpc", "port"), int64(m.Grpc.GetPort()), false)
		case *networking.ReadinessProbe_Exec:
			if len(m.Exec.GetCommand()) == 0 {
				c.add(at.Child("exec", "command"), "missing; name a command")
			}
		}
	}
}
