package instances

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Labels, metadata keys and tags with a meaning.
const (
	// tlsModeLabel is Istio's label for workloads whose proxy takes mTLS; metadata, whose keys have neither dot nor slash, say it as tls-mode.
	tlsModeLabel = "security.istio.io/tlsMode"
	tlsModeKey   = "tls-mode"
	// accountKey is the service account of the workload's identity.
	accountKey = "service-account"
	// ProtocolKey is the protocol of the main port, as Istio's adapter for Consul had it.
	ProtocolKey = "protocol"
	// PortKey is the number by which clients call the main port, and with a dash and a name that of another port.
	PortKey = "port"
	// canonicalLabel names the service in telemetry.
	canonicalLabel = "service.istio.io/canonical-name"
	// tagPrefix begins the label that a tag without a value becomes.
	tagPrefix = "tag/"
)

// Labels reads tags and metadata. A tag key|value (Istio's form) or key=value is the label key with that value, any other tag t the label
// "tag/t" with the value "true". Metadata count over tags. service names the instance in telemetry when no label does.
func Labels(service string, tags []string, meta map[string]string) map[string]string {
	out := make(map[string]string, len(tags)+len(meta)+1)
	for _, tag := range tags {
		if tag == "" {
			continue
		}
		i := strings.IndexAny(tag, "|=")
		if i <= 0 {
			out[tagPrefix+tag] = "true"
			continue
		}
		if _, ok := out[tag[:i]]; !ok { // of equal keys the first counts
			out[tag[:i]] = tag[i+1:]
		}
	}
	maps.Copy(out, meta)
	if mode := out[tlsModeKey]; mode != "" {
		out[tlsModeLabel] = mode
	}
	if out["app"] == "" && out["app.kubernetes.io/name"] == "" && out[canonicalLabel] == "" {
		out[canonicalLabel] = service
	}
	return out
}

func serviceAccount(labels map[string]string) string { return labels[accountKey] }

// MainPort is the port of an instance that has target as its one port, or as the one that counts most: called by the number of the label
// "port", else number, with the protocol of the label "protocol", else of the name, else detected.
func MainPort(labels map[string]string, name string, number, target uint32) (Port, error) {
	p := Port{Name: name, Number: number, Target: target}
	if text := labels[PortKey]; text != "" {
		n, err := parsePort(text)
		if err != nil {
			return p, fmt.Errorf("%s: %w", PortKey, err)
		}
		p.Number = n
	}
	text := labels[ProtocolKey]
	protocol, known := model.ParseProtocol(text)
	switch {
	case text == "":
		protocol = model.SelectProtocol("", name, "", p.Number)
	case !known:
		return p, fmt.Errorf("%s %q is unknown; known are http, http2, grpc, grpc-web, https, tls, tcp", ProtocolKey, text)
	}
	if p.Name == "" {
		p.Name = strings.ToLower(text)
	}
	p.Protocol = protocol
	return p, nil
}

// MorePorts are those of the labels port-NAME, by name: "9090" for a port that clients and instance number alike, "80:9090" for one that
// clients call by 80. The protocol is that of the name's prefix, as in "grpc-admin". Names in known are ports that the registry itself
// knows, with the instance's number; their value is the number that clients use.
func MorePorts(labels map[string]string, known map[string]uint32) (ports []Port, problems []error) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		name, ok := strings.CutPrefix(key, PortKey+"-")
		if !ok || name == "" {
			continue
		}
		if _, ok := known[name]; ok {
			continue
		}
		number, target, mapped := strings.Cut(labels[key], ":")
		p := Port{Name: name}
		var err error
		if p.Number, err = parsePort(number); err == nil {
			p.Target = p.Number
			if mapped {
				p.Target, err = parsePort(target)
			}
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", key, err))
			continue
		}
		p.Protocol = model.SelectProtocol("", name, "", p.Number)
		ports = append(ports, p)
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		p := Port{Name: name, Number: known[name], Target: known[name]}
		if text := labels[PortKey+"-"+name]; text != "" {
			n, err := parsePort(text)
			if err != nil {
				problems = append(problems, fmt.Errorf("%s-%s: %w", PortKey, name, err))
			} else {
				p.Number = n
			}
		}
		p.Protocol = model.SelectProtocol("", name, "", p.Number)
		ports = append(ports, p)
	}
	return ports, problems
}

func parsePort(text string) (uint32, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no port", text)
	}
	return uint32(n), nil
}
