// Package instances makes a mesh service of what a registry knows: instances with an address, ports, tags and metadata.
//
// labels.go reads tags and metadata; this file joins the instances of one service: the ports that they have in common or apart become the
// ports of the service, and each instance an endpoint of those that it serves. It does no I/O and knows no registry; the packages beside it,
// one for each registry, import it.
package instances

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Instance is one instance as a registry gives it.
type Instance struct {
	ID      string // unique within the service
	Address string // IP address, host name or "unix://path"
	Ports   []Port
	Labels  map[string]string
	// Locality is where it runs.
	Locality model.Locality
	// Weight of 0 counts as 1.
	Weight uint32
	// Unhealthy instances stay known and get no traffic.
	Unhealthy bool
	// External instances have no proxy and no identity.
	External bool
}

// Port is a port of an instance.
type Port struct {
	Name string
	// Number is what clients of the service call, Target where this instance listens.
	Number, Target uint32
	Protocol       model.Protocol
}

// Join makes the registration of a service from its instances. base holds the host, names and origin. Nil is returned when there is nothing that
// could be called. The problems say, in words, which parts have no effect.
func Join(base model.Service, list []Instance) (*model.Registration, []string) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Instance) int { return cmp.Compare(a.ID, b.ID) })
	j := joiner{svc: base, ports: map[uint32]model.Port{}}
	for i := range list {
		j.add(&list[i])
	}
	if len(j.out) == 0 {
		return nil, j.problems
	}
	for _, p := range j.ports {
		j.svc.Ports = append(j.svc.Ports, p)
	}
	slices.SortFunc(j.svc.Ports, func(a, b model.Port) int { return cmp.Compare(a.Number, b.Number) })
	return &model.Registration{Service: &j.svc, Instances: j.out}, j.problems
}

// joiner is a service in the making.
type joiner struct {
	svc      model.Service
	ports    map[uint32]model.Port // by number
	out      []model.Instance
	problems []string
}

func (j *joiner) problem(format string, args ...any) {
	if len(j.problems) < mostProblems {
		j.problems = append(j.problems, fmt.Sprintf(format, args...))
	}
}

// mostProblems is how many problems of one service are told; a registry may hold any number.
const mostProblems = 20

func (j *joiner) add(in *Instance) {
	path, socket := strings.CutPrefix(in.Address, "unix://")
	if socket && !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "@") {
		j.problem("instance %s: the socket %q is no absolute path; it is left out", in.ID, path)
		return
	}
	named := false
	if !socket {
		addr, err := netip.ParseAddr(in.Address)
		switch {
		case err == nil && (addr.Zone() != "" || addr.IsUnspecified()):
			j.problem("instance %s: %q is no address that can be reached; it is left out", in.ID, in.Address)
			return
		case err != nil && !hostName(in.Address):
			j.problem("instance %s: %q is neither an IP address nor a host name; it is left out", in.ID, in.Address)
			return
		}
		named = err != nil
	}
	if len(in.Ports) == 0 {
		j.problem("instance %s has no port; it is left out", in.ID)
		return
	}
	served := map[uint32]bool{}
	for _, p := range in.Ports {
		if p.Protocol == model.ProtocolUDP {
			j.problem("instance %s: port %d is UDP, which is not proxied; the port is left out", in.ID, p.Number)
			continue
		}
		if !isPort(p.Number) || !isPort(p.Target) && !socket {
			j.problem("instance %s: %d to %d are no ports; they are left out", in.ID, p.Number, p.Target)
			continue
		}
		if served[p.Number] {
			j.problem("instance %s: port %d is given twice; the first counts", in.ID, p.Number)
			continue
		}
		served[p.Number] = true
		known, ok := j.ports[p.Number]
		if !ok {
			j.ports[p.Number] = model.Port{Name: p.Name, Number: p.Number, Protocol: p.Protocol}
		} else if known.Protocol != p.Protocol {
			j.problem("instance %s: port %d has another protocol than at the instances before it; theirs counts", in.ID, p.Number)
		}
		e := model.Instance{
			Address: in.Address, Port: p.Target, ServicePort: p.Number, Labels: in.Labels, ServiceAccount: serviceAccount(in.Labels), Namespace: j.svc.Namespace,
			Workload: in.ID, Locality: in.Locality, Weight: in.Weight, Unhealthy: in.Unhealthy, Origin: j.svc.Origin.At("instance "+in.ID, 0),
		}
		if socket {
			e.Port = 0
		}
		if in.Labels[tlsModeLabel] == "istio" && !in.External {
			e.TLS = model.TLSModeIstio
		}
		j.out = append(j.out, e)
		j.svc.External = j.svc.External || in.External
		if named {
			j.svc.Resolution = model.ResolutionDNS // names are resolved by the proxies
		}
	}
}

func isPort(n uint32) bool { return n > 0 && n < 1<<16 }

var hostPattern = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?$`)

func hostName(s string) bool { return len(s) <= 253 && hostPattern.MatchString(s) }

// Host joins parts to the host of a service, in lower case; false when they make no host name.
func Host(parts ...string) (string, bool) {
	host := strings.ToLower(strings.Join(slices.DeleteFunc(slices.Clone(parts), func(s string) bool { return s == "" }), "."))
	return host, hostName(host) && !strings.HasSuffix(host, ".")
}
