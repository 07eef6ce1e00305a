package validate

//lint:file-ignore SA1019 a deprecated field is refused by name, as in Istio.

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1beta1 "istio.io/api/networking/v1beta1"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

func sidecar(c *checker, root *field.Path, spec any) {
	s := spec.(*networking.Sidecar)
	if s.WorkloadSelector != nil {
		c.selectorLabels(root.Child("workloadSelector", "labels"), s.WorkloadSelector.Labels)
	}
	if len(s.Egress)+len(s.Ingress) == 0 && s.OutboundTrafficPolicy == nil && s.InboundConnectionPool == nil {
		c.add(root, "says nothing; give it egress, ingress, outboundTrafficPolicy or inboundConnectionPool")
	}
	ports := map[uint32]bool{}
	for i, in := range s.Ingress {
		at := root.Child("ingress").Index(i)
		if in == nil || in.Port == nil {
			c.add(at.Child("port"), "missing; name the port that is listened on")
			continue
		}
		c.sidecarPort(at.Child("port"), in.Port, ports)
		if in.Bind != "" {
			c.sidecarBind(at.Child("bind"), in.Bind)
		}
		c.ingressEndpoint(at.Child("defaultEndpoint"), in.DefaultEndpoint)
		c.ingressTLS(at, in)
		c.connectionPool(at.Child("connectionPool"), in.ConnectionPool)
	}
	ports, sockets := map[uint32]bool{}, map[string]bool{}
	for i, out := range s.Egress {
		at := root.Child("egress").Index(i)
		if out == nil {
			c.add(at, "empty; name the hosts that are exposed")
			continue
		}
		c.egressHosts(at.Child("hosts"), out.Hosts)
		switch path, socket := strings.CutPrefix(out.Bind, "unix://"); {
		case out.Port == nil && i < len(s.Egress)-1:
			c.add(at.Child("port"), "missing; only the last egress listener may do without")
		case out.Port == nil:
			if out.Bind != "" {
				c.sidecarBind(at.Child("bind"), out.Bind)
			}
		case out.Port.Number == 0:
			c.protocol(at.Child("port", "protocol"), out.Port.Protocol)
			switch {
			case !socket:
				c.add(at.Child("bind"), "a listener with port 0 is a Unix socket; write unix:///path, or give it a port")
			case sockets[out.Bind]:
				c.add(at.Child("bind"), "%s is listened on twice; remove one", out.Bind)
			default:
				c.socketPath(at.Child("bind"), path)
			}
			if out.CaptureMode == networking.CaptureMode_IPTABLES {
				c.add(at.Child("captureMode"), "connections to a Unix socket cannot be captured; use DEFAULT or NONE")
			}
			sockets[out.Bind] = true
		default:
			c.sidecarPort(at.Child("port"), out.Port, ports)
			if out.Bind != "" {
				c.sidecarBind(at.Child("bind"), out.Bind)
			}
		}
	}
	c.connectionPool(root.Child("inboundConnectionPool"), s.InboundConnectionPool)
	if p := s.OutboundTrafficPolicy.GetEgressProxy(); p != nil {
		at := root.Child("outboundTrafficPolicy", "egressProxy")
		if s.OutboundTrafficPolicy.Mode != networking.OutboundTrafficPolicy_ALLOW_ANY {
			c.add(at, "is for what mode ALLOW_ANY lets through; set that mode, or remove it")
		}
		if p.Port == nil {
			c.add(at.Child("port"), "missing; name the port of the proxy")
		}
		c.destination(at, p)
	}
}

// sidecarPort checks a listener's port, which no other of the list may have.
func (c *checker) sidecarPort(at *field.Path, p *networking.SidecarPort, taken map[uint32]bool) {
	c.port(at.Child("number"), int64(p.Number), false)
	c.protocol(at.Child("protocol"), p.Protocol)
	if p.TargetPort != 0 {
		c.add(at.Child("targetPort"), "has no effect on a Sidecar; remove it")
	}
	if taken[p.Number] {
		c.add(at.Child("number"), "%d is listened on twice; remove one", p.Number)
	}
	taken[p.Number] = true
}

func (c *checker) sidecarBind(at *field.Path, bind string) {
	if _, err := netip.ParseAddr(bind); err != nil {
		c.add(at, "%q is not an IP address", bind)
	}
}

// socketPath checks the path of a Unix socket: absolute, or abstract with a leading @.
func (c *checker) socketPath(at *field.Path, path string) {
	const longest = 107 // bytes of sockaddr_un.sun_path, and its end
	switch {
	case len(path) < 2 || path[0] != '/' && path[0] != '@':
		c.add(at, "%q is not a path of a Unix socket; write unix:///path or unix://@name", path)
	case len(path) > longest:
		c.add(at, "the path of a Unix socket has at most %d bytes, this one has %d", longest, len(path))
	}
}

// ingressEndpoint checks where an ingress listener passes connections on to.
func (c *checker) ingressEndpoint(at *field.Path, s string) {
	if s == "" {
		return
	}
	if path, ok := strings.CutPrefix(s, "unix://"); ok {
		c.socketPath(at, path)
		return
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		c.add(at, "%q has no port; write address:port", s)
		return
	}
	if !slices.Contains([]string{"", "127.0.0.1", "0.0.0.0", "::1", "::"}, host) {
		c.add(at, "%q: applications are reached at 127.0.0.1 or [::1], at the workload's own address (0.0.0.0, [::]) or at unix:///path", s)
	}
	n, err := strconv.ParseUint(port, 10, 32)
	if err != nil {
		n = 0
	}
	c.port(at, int64(n), false)
}

// ingressTLS checks TLS that a sidecar ends: with files, on ports that carry TLS.
func (c *checker) ingressTLS(at *field.Path, in *networking.IstioIngressListener) {
	t := in.Tls
	if t == nil {
		return
	}
	at = at.Child("tls")
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"subjectAltNames", len(t.SubjectAltNames) > 0}, {"httpsRedirect", t.HttpsRedirect}, {"credentialName", t.CredentialName != ""},
		{"credentialNames", len(t.CredentialNames) > 0}, {"tlsCertificates", len(t.TlsCertificates) > 0}, {"caCertCredentialName", t.CaCertCredentialName != ""},
	} {
		if f.set {
			c.add(at.Child(f.name), "is for gateways alone; a sidecar takes serverCertificate, privateKey and caCertificates")
		}
	}
	switch t.Mode {
	case networking.ServerTLSSettings_SIMPLE, networking.ServerTLSSettings_MUTUAL, networking.ServerTLSSettings_OPTIONAL_MUTUAL:
		if t.ServerCertificate == "" || t.PrivateKey == "" {
			c.add(at, "serverCertificate and privateKey are missing; name the files")
		}
		if t.Mode == networking.ServerTLSSettings_MUTUAL && t.CaCertificates == "" {
			c.add(at.Child("caCertificates"), "missing; mode MUTUAL checks clients by it")
		}
	default:
		c.add(at.Child("mode"), "%s is for gateways alone; use SIMPLE or MUTUAL", t.Mode)
	}
	if p := strings.ToUpper(in.Port.GetProtocol()); p != "HTTPS" && p != "TLS" {
		c.add(at, "the port's protocol is %s; TLS is ended on ports of protocol HTTPS or TLS", in.Port.GetProtocol())
	}
}

// egressHosts checks "namespace/host". A "~" before the namespace takes hosts out again.
func (c *checker) egressHosts(at *field.Path, hosts []string) {
	if len(hosts) == 0 {
		c.add(at, "missing; name namespace/host pairs such as ./* or istio-system/*")
	}
	for j, h := range hosts {
		hat := at.Index(j)
		ns, host, ok := strings.Cut(h, "/")
		if !ok {
			c.add(hat, "%q lacks a namespace; write namespace/host, such as ./%s", h, h)
			continue
		}
		if n := strings.TrimPrefix(ns, "~"); n != "*" && n != "." && ns != "~" && !label1123.MatchString(n) {
			c.add(hat, `%q: the part before the slash must be a namespace, ".", "*" or "~", or one with "~" before it`, h)
			continue
		}
		c.host(hat, host, anyHost)
	}
}

func proxyConfig(c *checker, root *field.Path, spec any) {
	pc := spec.(*networkingv1beta1.ProxyConfig)
	c.selector(root.Child("selector"), pc.Selector)
	if n := pc.Concurrency.GetValue(); n < 0 {
		c.add(root.Child("concurrency"), "%d is negative; use 0 for one worker per core", n)
	}
}
