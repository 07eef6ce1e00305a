package model

import (
	"strings"
	"time"
)

// Gateway is a set of servers on the proxies that its selector chooses.
type Gateway struct {
	Namespace string
	Name      string
	Selector  map[string]string // nil: every gateway proxy
	// Within is the namespace of the proxies that the selector is for; "": any. One that was made of the Gateway API's is for the workloads of a Service, and may give them
	// certificates of other namespaces.
	Within  string
	Servers []Server
	Created time.Time
	Origin  Origin
	Rev     uint64
}

// Key is the key of a gateway in Snapshot.Gateways.
func (g *Gateway) Key() string { return g.Namespace + "/" + g.Name }

// AutoPassthrough reports whether one of the servers routes by cluster names.
func (g *Gateway) AutoPassthrough() bool {
	for i := range g.Servers {
		if t := g.Servers[i].TLS; t != nil && t.Mode == ServerAutoPassthrough {
			return true
		}
	}
	return false
}

// Server is one port of a gateway.
type Server struct {
	Port     uint32 // of the gateway's Service
	PortName string
	Protocol Protocol
	Hosts    []ServerHost
	// Bind is the address to listen on; empty: the proxy's.
	Bind string
	// TLS is nil for a server in the clear.
	TLS  *ServerTLS
	Name string // begins the names of statistics of servers that terminate TLS
	// HTTPSRedirect answers requests in the clear with a redirect.
	HTTPSRedirect bool
	Origin        Origin
}

// ServerHost is a host that a server serves, for virtual services of a namespace.
type ServerHost struct {
	Namespace string // "*": any
	Host      string // may be a wildcard
}

// Admits reports whether a virtual service of namespace ns may serve the host.
func (h ServerHost) Admits(ns string) bool { return h.Namespace == "*" || h.Namespace == ns }

// Names are the hosts without their namespaces, each once, as they come.
func (s *Server) Names() []string {
	var out []string
	seen := map[string]bool{}
	for _, h := range s.Hosts {
		if !seen[h.Host] {
			seen[h.Host] = true
			out = append(out, h.Host)
		}
	}
	return out
}

// TerminatesHTTP reports whether requests can be read behind the server's TLS.
func (s *Server) TerminatesHTTP() bool {
	return s.Protocol == ProtocolHTTPS && s.TLS != nil && !s.TLS.Mode.Passthrough()
}

// TerminatesTCP reports whether opaque bytes are read behind the server's TLS.
func (s *Server) TerminatesTCP() bool {
	return s.Protocol == ProtocolTLS && s.TLS != nil && !s.TLS.Mode.Passthrough()
}

// ServerTLSMode says how a server's TLS is handled.
type ServerTLSMode uint8

// Modes of a server's TLS, as in Istio's ServerTLSSettings.TLSmode.
const (
	ServerPassthrough     ServerTLSMode = iota // by server name to where a virtual service says
	ServerSimple                               // no client certificate
	ServerMutual                               // client certificate required
	ServerAutoPassthrough                      // by server name, which names the cluster
	ServerIstioMutual                          // the mesh's identities on both sides
	ServerOptionalMutual                       // client certificate asked for, and checked if there is one
)

// Passthrough reports whether the bytes stay encrypted.
func (m ServerTLSMode) Passthrough() bool {
	return m == ServerPassthrough || m == ServerAutoPassthrough
}

// ChecksClients reports whether client certificates are asked for.
func (m ServerTLSMode) ChecksClients() bool {
	return m == ServerMutual || m == ServerOptionalMutual || m == ServerIstioMutual
}

// ServerTLS is a gateway server's TLS.
type ServerTLS struct {
	Mode ServerTLSMode
	// Files are certificates on the gateway's own disk; Credentials are names of Secrets
	// (CredentialRef). One of the two is set when the server terminates TLS with certificates
	// that are not the mesh's.
	Files       []CertificateFile
	Credentials []string
	// CAFile and CACredential are the roots for clients; the latter is the name of the secret
	// resource. At most one is set.
	CAFile       string
	CACredential string
	CRLFile      string
	SANs         []string // one of which a client must have; empty: any
	SPKI, Hashes []string // of clients' certificates; empty: any
	MinVersion   TLSVersion
	MaxVersion   TLSVersion
	Ciphers      []string // in BoringSSL's names; empty: the proxy's default
	// AcceptUntrusted lets clients in whose certificates do not verify.
	AcceptUntrusted bool
}

// CertificateFile is a certificate chain with its key, as files.
type CertificateFile struct{ Certificate, Key string }

// TLSVersion is a TLS protocol version; 0 is the default.
type TLSVersion uint8

// TLS versions.
const (
	TLS10 TLSVersion = iota + 1
	TLS11
	TLS12
	TLS13
)

// CredentialPrefix begins the names of secret resources that are read from Secrets.
const CredentialPrefix = "kubernetes://"

// GatewayCredentialPrefix begins those to which a Gateway of the Gateway API refers, "kubernetes-gateway://namespace/name". The namespace may be
// another than the proxy's: that the reference is permitted was seen when the Gateway was read.
const GatewayCredentialPrefix = "kubernetes-gateway://"

// ProviderCredentialPrefix begins those that a provider of the mesh's settings serves (extensionProviders.sds), "sds://NAME" with the NAME of its sds.
const ProviderCredentialPrefix = "sds://"

// CASuffix ends the name of the resource with the roots that go with a certificate.
const CASuffix = "-cacert"

// ParseCredentialName takes the name of a secret resource apart, "kubernetes://name" or
// "kubernetes://namespace/name"; the namespace of the first form is the proxy's own, ns. It takes those with GatewayCredentialPrefix as well.
func ParseCredentialName(resource, ns string) (namespace, name string, ok bool) {
	if rest, ok := strings.CutPrefix(resource, GatewayCredentialPrefix); ok {
		namespace, name, ok = strings.Cut(rest, "/")
		return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, "/")
	}
	rest, ok := strings.CutPrefix(resource, CredentialPrefix)
	if !ok || rest == "" {
		return "", "", false
	}
	if a, b, both := strings.Cut(rest, "/"); both {
		return a, b, a != "" && b != "" && !strings.Contains(b, "/")
	}
	return ns, rest, true
}

// Credential is what a Secret holds for TLS. Nothing prints it.
type Credential struct {
	Namespace string
	Name      string
	// Certificate and Key are PEM; nil: the Secret has none.
	Certificate, Key []byte
	Staple           []byte // OCSP response; nil: none
	CA               []byte // roots for clients; nil: none
	CRL              []byte // what these have revoked; nil: nothing
	Created          time.Time
	Origin           Origin
	Rev              uint64
}

// TableKey is the key of a credential in Snapshot.Credentials.
func (c *Credential) TableKey() string { return c.Namespace + "/" + c.Name }

// String keeps the key out of whatever prints the value.
func (c *Credential) String() string { return "credential " + c.TableKey() }

// GoString does the same for %#v.
func (c *Credential) GoString() string { return c.String() }

// Topology says what stands before a gateway.
type Topology struct {
	// TrustedProxies is how many addresses at the end of X-Forwarded-For are of trusted
	// proxies in front of the gateway.
	TrustedProxies uint32
	// ForwardClientCert says what becomes of X-Forwarded-Client-Cert; 0: SANITIZE_SET.
	ForwardClientCert ForwardClientCert
	// ProxyProtocol: connections begin with a PROXY protocol header.
	ProxyProtocol bool
}

// ForwardClientCert is Istio's ForwardClientCertDetails.
type ForwardClientCert uint8

// Values of ForwardClientCert.
const (
	ForwardUndefined ForwardClientCert = iota
	ForwardSanitize
	ForwardOnly
	ForwardAppend
	ForwardSanitizeSet
	ForwardAlwaysOnly
)

// ParseForwardClientCert reads Istio's name of a value.
func ParseForwardClientCert(s string) (ForwardClientCert, bool) {
	for i, name := range []string{"UNDEFINED", "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"} {
		if s == name {
			return ForwardClientCert(i), true
		}
	}
	return ForwardUndefined, false
}

// TopologyOf returns what stands before a gateway proxy: as its own configuration says, else
// the mesh's.
func (s *Snapshot) TopologyOf(p *Proxy) Topology {
	if p.Topology != nil {
		return *p.Topology
	}
	return s.Mesh.Topology
}
