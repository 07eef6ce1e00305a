package als

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogpb "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

func (s *Sink) tcpEntry(c *format.Context) *accesslogpb.TCPAccessLogEntry {
	return &accesslogpb.TCPAccessLogEntry{
		CommonProperties: s.common(c),
		ConnectionProperties: &accesslogpb.ConnectionProperties{
			ReceivedBytes: c.Info.BytesReceived, SentBytes: c.Info.BytesSent,
		},
	}
}

func (s *Sink) httpEntry(c *format.Context) *accesslogpb.HTTPAccessLogEntry {
	i := c.Info
	e := &accesslogpb.HTTPAccessLogEntry{CommonProperties: s.common(c), Request: &accesslogpb.HTTPRequestProperties{}}
	switch i.Protocol {
	case streaminfo.HTTP10:
		e.ProtocolVersion = accesslogpb.HTTPAccessLogEntry_HTTP10
	case streaminfo.HTTP11:
		e.ProtocolVersion = accesslogpb.HTTPAccessLogEntry_HTTP11
	case streaminfo.HTTP2:
		e.ProtocolVersion = accesslogpb.HTTPAccessLogEntry_HTTP2
	}
	if h := c.Request; h != nil {
		get := func(name string) string { return value(h, header.KeyOf(name)) }
		r := e.Request
		r.RequestMethod = corev3.RequestMethod(corev3.RequestMethod_value[get(":method")])
		r.Scheme, r.Authority, r.Path = get(":scheme"), get(":authority"), get(":path")
		r.UserAgent, r.Referer, r.ForwardedFor = get("user-agent"), get("referer"), get("x-forwarded-for")
		r.RequestId, r.OriginalPath = get("x-request-id"), get("x-envoy-original-path")
		r.RequestHeaders = pick(h, s.request)
	}
	e.Request.UpstreamHeaderBytesSent, e.Request.DownstreamHeaderBytesReceived = i.UpstreamMeter.HeaderSent, i.DownstreamMeter.HeaderReceived
	e.Request.RequestHeadersBytes, e.Request.RequestBodyBytes = uint64(i.RequestHeaderSize), i.BytesReceived
	a := &accesslogpb.HTTPResponseProperties{
		ResponseHeadersBytes: uint64(i.ResponseHeaderSize), ResponseBodyBytes: i.BytesSent, ResponseCodeDetails: i.Details,
		UpstreamHeaderBytesReceived: i.UpstreamMeter.HeaderReceived, DownstreamHeaderBytesSent: i.DownstreamMeter.HeaderSent,
		ResponseHeaders: pick(c.Response, s.answer), ResponseTrailers: pick(c.Trailers, s.trailer),
	}
	if i.ResponseCode != 0 {
		a.ResponseCode = wrapperspb.UInt32(uint32(i.ResponseCode))
	}
	e.Response = a
	return e
}

func value(h *header.Map, k header.Key) string {
	v, _ := h.GetKey(k)
	return strings.ToValidUTF8(string(v), "!")
}

func pick(h *header.Map, keys []header.Key) map[string]string {
	if h == nil || len(keys) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, k := range keys {
		if v, ok := h.Join(nil, k); ok {
			out[k.Name] = strings.ToValidUTF8(string(v), "!")
		}
	}
	return out
}

// since is a point in time as a duration from the stream's start; nil: not reached.
func since(i *streaminfo.Info, at int64) *durationpb.Duration {
	if at == 0 {
		return nil
	}
	return durationpb.New(time.Duration(at - i.Start))
}

func (s *Sink) common(c *format.Context) *accesslogpb.AccessLogCommon {
	i := c.Info
	out := &accesslogpb.AccessLogCommon{
		StartTime:        timestamppb.New(i.StartWall),
		TimeToLastRxByte: since(i, i.RequestEnd), TimeToFirstUpstreamTxByte: since(i, i.UpstreamTxFirst),
		TimeToLastUpstreamTxByte: since(i, i.UpstreamTxLast), TimeToFirstUpstreamRxByte: since(i, i.UpstreamRxFirst),
		TimeToLastUpstreamRxByte: since(i, i.UpstreamRxLast), TimeToFirstDownstreamTxByte: since(i, i.ResponseStart),
		TimeToLastDownstreamTxByte: since(i, i.ResponseEnd), Duration: since(i, i.End),
		DownstreamRemoteAddress: address(i.RemoteAddr(), ""), UpstreamLocalAddress: address(i.UpstreamLocal, ""),
		UpstreamCluster: i.UpstreamCluster, UpstreamTransportFailureReason: i.UpstreamFailure, RouteName: i.RouteName,
		UpstreamRequestAttemptCount: uint32(i.Attempts), ConnectionTerminationDetails: i.TerminationDetails, StreamId: string(i.RequestID),
		DownstreamTransportFailureReason: i.DownstreamFailure, AccessLogType: accesslogpb.AccessLogType(c.LogType),
		ResponseFlags:           flags(i.Flags),
		DownstreamWireBytesSent: i.DownstreamMeter.Sent, DownstreamWireBytesReceived: i.DownstreamMeter.Received,
		UpstreamWireBytesSent: i.UpstreamMeter.Sent, UpstreamWireBytesReceived: i.UpstreamMeter.Received,
	}
	if d := i.Downstream; d != nil {
		local := d.LocalAddr
		if d.OriginalDst.IsValid() {
			local = d.OriginalDst
		}
		direct := d.DirectRemoteAddr
		if !direct.IsValid() {
			direct = d.RemoteAddr
		}
		out.DownstreamLocalAddress, out.DownstreamDirectRemoteAddress = address(local, d.Path), address(direct, "")
		out.TlsProperties = tlsProperties(d)
	}
	if h := i.Host; h != nil {
		out.UpstreamRemoteAddress = address(netip.AddrPortFrom(h.Address.IP, h.Address.Port), h.Address.Pipe)
	}
	if len(i.Metadata) > 0 {
		out.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
		for k, v := range i.Metadata {
			if st, err := structpb.NewStruct(v); err == nil {
				out.Metadata.FilterMetadata[k] = st
			}
		}
	}
	for _, name := range s.cfg.FilterState {
		o := i.FilterState(name)
		if o == nil {
			continue
		}
		v, err := anypb.New(wrapperspb.String(strings.ToValidUTF8(o.String(), "!")))
		if err != nil {
			continue // no text fails to be packed
		}
		if out.FilterStateObjects == nil {
			out.FilterStateObjects = map[string]*anypb.Any{}
		}
		out.FilterStateObjects[name] = v
	}
	for k := range s.tags {
		if v, ok := s.tags[k].Get(c); ok {
			if out.CustomTags == nil {
				out.CustomTags = map[string]string{}
			}
			out.CustomTags[s.tags[k].Name] = strings.ToValidUTF8(v, "!")
		}
	}
	return out
}

// address is nil for what is not known.
func address(a netip.AddrPort, pipe string) *corev3.Address {
	switch {
	case pipe != "":
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: pipe}}}
	case !a.Addr().IsValid():
		return nil
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}

func tlsProperties(d *conn.Info) *accesslogpb.TLSProperties {
	if d.TLS == nil {
		return nil
	}
	out := &accesslogpb.TLSProperties{TlsSniHostname: d.SNI, TlsCipherSuite: wrapperspb.UInt32(uint32(d.TLS.CipherSuite))}
	if c := d.LocalCertificate; c != nil {
		out.LocalCertificateProperties = certificate(c)
		out.LocalCertificateProperties.Issuer = "" // as Envoy, which tells that of the peer's
	}
	switch d.TLS.Version {
	case tls.VersionTLS10:
		out.TlsVersion = accesslogpb.TLSProperties_TLSv1
	case tls.VersionTLS11:
		out.TlsVersion = accesslogpb.TLSProperties_TLSv1_1
	case tls.VersionTLS12:
		out.TlsVersion = accesslogpb.TLSProperties_TLSv1_2
	case tls.VersionTLS13:
		out.TlsVersion = accesslogpb.TLSProperties_TLSv1_3
	}
	if len(d.TLS.PeerCertificates) > 0 {
		out.PeerCertificateProperties = certificate(d.TLS.PeerCertificates[0])
	}
	return out
}

func certificate(c *x509.Certificate) *accesslogpb.TLSProperties_CertificateProperties {
	out := &accesslogpb.TLSProperties_CertificateProperties{Subject: c.Subject.String(), Issuer: c.Issuer.String()}
	for _, u := range c.URIs {
		out.SubjectAltName = append(out.SubjectAltName, &accesslogpb.TLSProperties_CertificateProperties_SubjectAltName{
			San: &accesslogpb.TLSProperties_CertificateProperties_SubjectAltName_Uri{Uri: u.String()},
		})
	}
	return out
}

// flags is nil when there is none.
func flags(f streaminfo.Flags) *accesslogpb.ResponseFlags {
	if f == 0 {
		return nil
	}
	has := func(x streaminfo.Flags) bool { return f&x != 0 }
	out := &accesslogpb.ResponseFlags{
		FailedLocalHealthcheck: has(streaminfo.FailedLocalHealthCheck), NoHealthyUpstream: has(streaminfo.NoHealthyUpstream),
		UpstreamRequestTimeout: has(streaminfo.UpstreamRequestTimeout), LocalReset: has(streaminfo.LocalReset),
		UpstreamRemoteReset: has(streaminfo.UpstreamRemoteReset), UpstreamConnectionFailure: has(streaminfo.UpstreamConnectionFailure),
		UpstreamConnectionTermination: has(streaminfo.UpstreamConnectionTermination), UpstreamOverflow: has(streaminfo.UpstreamOverflow),
		NoRouteFound: has(streaminfo.NoRouteFound), DelayInjected: has(streaminfo.DelayInjected), FaultInjected: has(streaminfo.FaultInjected),
		RateLimited: has(streaminfo.RateLimited), RateLimitServiceError: has(streaminfo.RateLimitServiceError),
		DownstreamConnectionTermination: has(streaminfo.DownstreamConnectionTermination),
		UpstreamRetryLimitExceeded:      has(streaminfo.UpstreamRetryLimitExceeded), StreamIdleTimeout: has(streaminfo.StreamIdleTimeout),
		InvalidEnvoyRequestHeaders: has(streaminfo.InvalidEnvoyRequestHeaders), DownstreamProtocolError: has(streaminfo.DownstreamProtocolError),
		UpstreamMaxStreamDurationReached: has(streaminfo.UpstreamMaxStreamDurationReached),
		ResponseFromCacheFilter:          has(streaminfo.ResponseFromCacheFilter), NoFilterConfigFound: has(streaminfo.NoFilterConfigFound),
		DurationTimeout: has(streaminfo.DurationTimeout), UpstreamProtocolError: has(streaminfo.UpstreamProtocolError),
		NoClusterFound: has(streaminfo.NoClusterFound), OverloadManager: has(streaminfo.OverloadManager),
		DnsResolutionFailure: has(streaminfo.DNSResolutionFailed), DownstreamRemoteReset: has(streaminfo.DownstreamRemoteReset),
	}
	if has(streaminfo.UnauthorizedExternalService) {
		out.UnauthorizedDetails = &accesslogpb.ResponseFlags_Unauthorized{Reason: accesslogpb.ResponseFlags_Unauthorized_EXTERNAL_SERVICE}
	}
	return out
}
