package cel

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/netip"
	"strconv"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// attribute reads one attribute; nil: it is missing. The stream has its Info.
type attribute func(*Stream) ref.Val

// lookup finds an attribute of a group by name.
type lookup func(s *Stream, name string) ref.Val

// groups are the names that expressions begin with, but for metadata.
var groups = map[string]lookup{
	"request":      named(requestAttributes),
	"response":     named(responseAttributes),
	"connection":   connectionAttribute,
	"source":       ofPeer((*streaminfo.Info).RemoteAddr),
	"destination":  ofPeer(localAddr),
	"upstream":     upstreamAttribute,
	"xds":          named(xdsAttributes),
	"filter_state": stateAttribute,
	// Nothing shares state with a connection upstream here.
	"upstream_filter_state": func(*Stream, string) ref.Val { return nil },
}

func named(m map[string]attribute) lookup {
	return func(s *Stream, name string) ref.Val {
		if f := m[name]; f != nil {
			return f(s)
		}
		return nil
	}
}

var requestAttributes = map[string]attribute{
	"headers":       func(s *Stream) ref.Val { return &headers{s.Request} },
	"headers_bytes": func(s *Stream) ref.Val { return types.Int(size(s.Request)) },
	"time": func(s *Stream) ref.Val {
		if s.Info.StartWall.IsZero() {
			return nil
		}
		return types.Timestamp{Time: s.Info.StartWall.Truncate(time.Microsecond).UTC()}
	},
	"size": func(s *Stream) ref.Val {
		if s.Request != nil {
			if v, ok := s.Request.Get(header.ContentLength); ok {
				n, err := strconv.ParseInt(string(v), 10, 64)
				if err != nil {
					return nil
				}
				return types.Int(n)
			}
		}
		return types.Int(s.Info.BytesReceived)
	},
	"total_size": func(s *Stream) ref.Val { return types.Int(s.Info.BytesReceived) + types.Int(size(s.Request)) },
	"duration":   func(s *Stream) ref.Val { return between(s.Info.Start, s.Info.End) },
	"protocol":   func(s *Stream) ref.Val { return textOr(s.Info.Protocol.String()) },
	"path":       requestHeader(header.Path),
	"host":       requestHeader(header.Authority),
	"scheme":     requestHeader(header.Scheme),
	"method":     requestHeader(header.Method),
	"referer":    requestHeaderNamed("referer"),
	"useragent":  requestHeaderNamed("user-agent"),
	"id":         requestHeaderNamed("x-request-id"),
	"url_path": func(s *Stream) ref.Val {
		if s.Request == nil {
			return nil
		}
		path, _, _ := bytes.Cut(s.Request.Value(header.Path), []byte("?"))
		return types.String(path)
	},
	"query": func(s *Stream) ref.Val {
		if s.Request == nil {
			return nil
		}
		_, query, _ := bytes.Cut(s.Request.Value(header.Path), []byte("?"))
		query, _, _ = bytes.Cut(query, []byte("#"))
		return types.String(query)
	},
}

var responseAttributes = map[string]attribute{
	"code": func(s *Stream) ref.Val {
		if s.Info.ResponseCode == 0 {
			return nil
		}
		return types.Int(s.Info.ResponseCode)
	},
	"code_details": func(s *Stream) ref.Val { return textOr(s.Info.Details) },
	"size":         func(s *Stream) ref.Val { return types.Int(s.Info.BytesSent) },
	"total_size": func(s *Stream) ref.Val {
		return types.Int(s.Info.BytesSent) + types.Int(size(s.Response)+size(s.Trailers))
	},
	"headers":       func(s *Stream) ref.Val { return &headers{s.Response} },
	"headers_bytes": func(s *Stream) ref.Val { return types.Int(size(s.Response)) },
	"trailers":      func(s *Stream) ref.Val { return &headers{s.Trailers} },
	"flags":         func(s *Stream) ref.Val { return types.Int(s.Info.Flags) }, // the bits are Envoy's
	"grpc_status":   grpcStatus,
	"backend_latency": func(s *Stream) ref.Val {
		return between(s.Info.UpstreamTxFirst, s.Info.UpstreamRxLast)
	},
}

var connectionAttributes = map[string]attribute{
	"mtls": func(s *Stream) ref.Val {
		d := s.Info.Downstream
		return types.Bool(d != nil && d.TLS != nil && len(d.TLS.PeerCertificates) > 0)
	},
	"requested_server_name": func(s *Stream) ref.Val {
		if s.Info.Downstream == nil {
			return types.String("")
		}
		return types.String(s.Info.Downstream.SNI)
	},
	"id":                       func(s *Stream) ref.Val { return types.Uint(s.Info.ConnectionID) },
	"termination_details":      func(s *Stream) ref.Val { return textOr(s.Info.TerminationDetails) },
	"transport_failure_reason": func(s *Stream) ref.Val { return textOr(s.Info.DownstreamFailure) },
}

func connectionAttribute(s *Stream, name string) ref.Val {
	if f := connectionAttributes[name]; f != nil {
		return f(s)
	}
	if d := s.Info.Downstream; d != nil && d.TLS != nil {
		return tlsAttribute(name, d.TLS, d.LocalCertificate)
	}
	return nil
}

// ofPeer are the attributes of one end of the client's connection.
func ofPeer(of func(*streaminfo.Info) netip.AddrPort) lookup {
	return func(s *Stream, name string) ref.Val {
		a := of(s.Info)
		switch {
		case !a.IsValid():
		case name == "address":
			return types.String(a.String())
		case name == "port":
			return types.Int(a.Port())
		}
		return nil
	}
}

func localAddr(i *streaminfo.Info) netip.AddrPort {
	if i.Downstream == nil {
		return netip.AddrPort{}
	}
	return i.Downstream.Destination()
}

var upstreamAttributes = map[string]attribute{
	"address": func(s *Stream) ref.Val { return textOr(s.Info.Host.Name) },
	"port": func(s *Stream) ref.Val {
		if !s.Info.Host.Address.IP.IsValid() {
			return nil
		}
		return types.Int(s.Info.Host.Address.Port)
	},
	"local_address": func(s *Stream) ref.Val {
		if !s.Info.UpstreamLocal.IsValid() {
			return nil
		}
		return types.String(s.Info.UpstreamLocal.String())
	},
	"locality": func(s *Stream) ref.Val {
		i := s.Info.Host.Info()
		if i == nil {
			return nil
		}
		return localityMessage(i.Locality.Region, i.Locality.Zone, i.Locality.SubZone)
	},
	"transport_failure_reason": func(s *Stream) ref.Val { return types.String(s.Info.UpstreamFailure) },
	"cx_pool_ready_duration": func(s *Stream) ref.Val {
		if s.Info.UpstreamTxFirst == 0 { // there was no connection, which is known when the stream ends
			return between(s.Info.Start, s.Info.End)
		}
		return between(s.Info.Start, s.Info.UpstreamTxFirst)
	},
}

func upstreamAttribute(s *Stream, name string) ref.Val {
	if name == "request_attempt_count" {
		return types.Uint(s.Info.Attempts)
	}
	if s.Info.Host == nil {
		return nil
	}
	if f := upstreamAttributes[name]; f != nil {
		return f(s)
	}
	if s.Info.UpstreamTLSState != nil {
		return tlsAttribute(name, s.Info.UpstreamTLSState, s.Info.UpstreamCertificate)
	}
	return nil
}

var xdsAttributes = map[string]attribute{
	"cluster_name": func(s *Stream) ref.Val {
		if s.Info.Cluster == nil {
			return nil
		}
		return types.String(s.Info.Cluster.Name)
	},
	"cluster_metadata": func(s *Stream) ref.Val {
		if s.Info.Cluster == nil {
			return nil
		}
		return metadataMessage(s.Info.Cluster.Metadata)
	},
	"route_name": func(s *Stream) ref.Val {
		if !routed(s) {
			return nil
		}
		return types.String(s.Info.RouteName)
	},
	"route_metadata": func(s *Stream) ref.Val {
		if !routed(s) {
			return nil
		}
		return metadataMessage(s.Info.RouteMetadata)
	},
	"virtual_host_name": func(s *Stream) ref.Val { return textOr(s.Info.VirtualHost) },
	"upstream_host_metadata": func(s *Stream) ref.Val {
		if s.Info.Host == nil || s.Info.Host.Info() == nil || s.Info.Host.Info().Metadata == nil {
			return nil
		}
		return metadataMessage(s.Info.Host.Info().Metadata)
	},
	"listener_metadata": func(s *Stream) ref.Val {
		if s.Info.Downstream == nil {
			return nil
		}
		return metadataMessage(s.Info.Downstream.ListenerMetadata)
	},
	"listener_direction": func(s *Stream) ref.Val {
		if s.Info.Downstream == nil {
			return nil
		}
		return types.Int(s.Info.Downstream.ListenerDirection)
	},
	"filter_chain_name": func(s *Stream) ref.Val {
		if s.Info.Downstream == nil {
			return types.String("")
		}
		return types.String(s.Info.Downstream.FilterChain)
	},
}

// routed reports whether a route was found. A virtual host's name is never empty.
func routed(s *Stream) bool { return s.Info.VirtualHost != "" }

// stateAttribute is an object of the filter state: a map of its fields if it has some, its bytes otherwise.
func stateAttribute(s *Stream, name string) ref.Val {
	o := s.Info.FilterState(name)
	if o == nil {
		return nil
	}
	if f, ok := o.(interface{ Field(string) (string, bool) }); ok {
		return &group{s, "filter_state." + name, func(_ *Stream, name string) ref.Val {
			if v, ok := f.Field(name); ok {
				return types.String(v)
			}
			return nil
		}}
	}
	return types.Bytes(o.String())
}

// tlsAttribute is an attribute of a TLS session; own is our certificate, or nil.
func tlsAttribute(name string, st *tls.ConnectionState, own *x509.Certificate) ref.Val {
	var peer *x509.Certificate
	if len(st.PeerCertificates) > 0 {
		peer = st.PeerCertificates[0]
	}
	switch name {
	case "tls_version":
		return types.String(tlsVersion(st.Version))
	case "subject_local_certificate":
		return subject(own)
	case "subject_peer_certificate":
		return subject(peer)
	case "uri_san_local_certificate":
		return firstURI(own)
	case "uri_san_peer_certificate":
		return firstURI(peer)
	case "dns_san_local_certificate":
		return firstName(own)
	case "dns_san_peer_certificate":
		return firstName(peer)
	}
	if peer == nil {
		return nil
	}
	switch name {
	case "sha256_peer_certificate_digest":
		sum := sha256.Sum256(peer.Raw)
		return types.String(hex.EncodeToString(sum[:]))
	case "peer_certificate":
		return types.String(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: peer.Raw}))
	}
	return nil
}

func tlsVersion(v uint16) string {
	switch v {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	}
	return "TLSv1.3"
}

// subject is empty, not missing, without a certificate, as in Envoy. A client may have had control characters
// written into its certificate, and values make headers and lines.
func subject(c *x509.Certificate) ref.Val {
	if c == nil {
		return types.String("")
	}
	return types.String(header.Text(c.Subject.String()))
}

func firstURI(c *x509.Certificate) ref.Val {
	if c == nil || len(c.URIs) == 0 {
		return nil
	}
	return types.String(c.URIs[0].String())
}

func firstName(c *x509.Certificate) ref.Val {
	if c == nil || len(c.DNSNames) == 0 {
		return nil
	}
	return types.String(header.Text(c.DNSNames[0]))
}

// grpcStatus is that of every response, whether or not it is gRPC's.
func grpcStatus(s *Stream) ref.Val {
	for _, m := range []*header.Map{s.Trailers, s.Response} {
		if m == nil {
			continue
		}
		if v, ok := m.Get(header.GRPCStatus); ok {
			n, err := strconv.ParseUint(string(v), 10, 31)
			if err != nil {
				return types.Int(-1) // as Envoy says of what is no status
			}
			return types.Int(n)
		}
	}
	if s.Info.ResponseCode == 0 {
		return nil
	}
	return types.Int(grpcstatus.FromHTTP(s.Info.ResponseCode))
}

func requestHeader(id header.ID) attribute {
	return func(s *Stream) ref.Val {
		if s.Request == nil {
			return nil
		}
		if v, ok := s.Request.Get(id); ok {
			return types.String(v)
		}
		return nil
	}
}

func requestHeaderNamed(name string) attribute {
	key := header.KeyOf(name)
	return func(s *Stream) ref.Val {
		if s.Request == nil {
			return nil
		}
		if v, ok := s.Request.GetKey(key); ok {
			return types.String(v)
		}
		return nil
	}
}

func size(m *header.Map) int {
	if m == nil {
		return 0
	}
	return m.Size()
}

func textOr(s string) ref.Val {
	if s == "" {
		return nil
	}
	return types.String(s)
}

// between is missing where one of the points in time was not reached.
func between(from, to int64) ref.Val {
	if from == 0 || to == 0 {
		return nil
	}
	return types.Duration{Duration: time.Duration(to - from)}
}
