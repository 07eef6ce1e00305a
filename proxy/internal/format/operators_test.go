package format

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/bytemeter"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// envoyOperators are all that Envoy 1.40 takes, but for those of CEL: each upper-case word of its program that --mode validate takes as
// an operator, with an argument where one is needed.
var envoyOperators = []string{
	"ACCESS_LOG_TYPE", "BYTES_RECEIVED", "BYTES_RETRANSMITTED", "BYTES_SENT", "CEL(request.path)", "CLUSTER_METADATA(x)",
	`COALESCE({"operators": ["PROTOCOL"]})`, "COMMON_DURATION(DS_RX_BEG:DS_TX_END)", "CONNECTION_ID",
	"CONNECTION_TERMINATION_DETAILS", "CUSTOM_FLAGS", "DOWNSTREAM_CX_RTT", "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
	"DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT", "DOWNSTREAM_DETECTED_CLOSE_TYPE", "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID", "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_DIRECT_LOCAL_PORT",
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_DIRECT_REMOTE_PORT",
	"DOWNSTREAM_HANDSHAKE_DURATION", "DOWNSTREAM_HEADER_BYTES_RECEIVED", "DOWNSTREAM_HEADER_BYTES_SENT", "DOWNSTREAM_LOCAL_ADDRESS",
	"DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID", "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_CLOSE_REASON",
	"DOWNSTREAM_LOCAL_DNS_SAN", "DOWNSTREAM_LOCAL_EMAIL_SAN", "DOWNSTREAM_LOCAL_IP_SAN", "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
	"DOWNSTREAM_LOCAL_PORT", "DOWNSTREAM_LOCAL_SUBJECT", "DOWNSTREAM_LOCAL_URI_SAN", "DOWNSTREAM_PEER_CERT",
	"DOWNSTREAM_PEER_CERT_V_END", "DOWNSTREAM_PEER_CERT_V_START", "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
	"DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256", "DOWNSTREAM_PEER_CHAIN_SERIALS", "DOWNSTREAM_PEER_DNS_SAN",
	"DOWNSTREAM_PEER_EMAIL_SAN", "DOWNSTREAM_PEER_FINGERPRINT_1", "DOWNSTREAM_PEER_FINGERPRINT_256", "DOWNSTREAM_PEER_IP_SAN",
	"DOWNSTREAM_PEER_ISSUER", "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256", "DOWNSTREAM_PEER_ISSUER_SERIAL",
	"DOWNSTREAM_PEER_OTHERNAME_SAN", "DOWNSTREAM_PEER_SERIAL", "DOWNSTREAM_PEER_SUBJECT", "DOWNSTREAM_PEER_URI_SAN",
	"DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_REMOTE_PORT", "DOWNSTREAM_TLS_CIPHER",
	"DOWNSTREAM_TLS_GROUP", "DOWNSTREAM_TLS_SESSION_ID", "DOWNSTREAM_TLS_VERSION", "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
	"DOWNSTREAM_WIRE_BYTES_RECEIVED", "DOWNSTREAM_WIRE_BYTES_SENT", "DURATION", "DYNAMIC_METADATA(x)", "EMIT_TIME",
	"EMIT_TIME_LOCAL", "ENVIRONMENT(x)", "FILTER_CHAIN_NAME", "FILTER_STATE(x)", "GRPC_STATUS", "GRPC_STATUS_NUMBER", "HOSTNAME",
	"LISTENER_NAME", "LOCAL_REPLY_BODY", "METADATA(DYNAMIC:a:b)", "PACKETS_RETRANSMITTED", "PATH", "PROTOCOL", "QUERY_PARAM(x)",
	"QUERY_PARAMS", "REQ(x)", "REQUESTED_SERVER_NAME", "REQUEST_DURATION", "REQUEST_HEADER(x)", "REQUEST_HEADERS_BYTES",
	"REQUEST_TX_DURATION", "REQ_WITHOUT_QUERY(x)", "RESP(x)", "RESPONSE_CODE", "RESPONSE_CODE_DETAILS", "RESPONSE_DURATION",
	"RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG", "RESPONSE_HEADER(x)", "RESPONSE_HEADERS_BYTES", "RESPONSE_TRAILER(x)",
	"RESPONSE_TRAILERS_BYTES", "RESPONSE_TX_DURATION", "ROUNDTRIP_DURATION", "ROUTE_NAME", "ROUTE_RESOLUTION_COUNT",
	"ROUTE_RESOLUTION_TIME_US", "SPAN_ID", "START_TIME", "START_TIME_LOCAL", "STREAM_ID", "STREAM_INFO_REQ(x)",
	"TLS_JA3_FINGERPRINT", "TLS_JA4_FINGERPRINT", "TRACE_ID", "TYPED_CEL(request.path)", "TRAILER(x)", "UNIQUE_ID", "UPSTREAM_CLUSTER", "UPSTREAM_CLUSTER_RAW",
	"UPSTREAM_CONNECTION_ID", "UPSTREAM_CONNECTION_IDS_ATTEMPTED", "UPSTREAM_CONNECTION_POOL_READY_DURATION",
	"UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED", "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT", "UPSTREAM_DETECTED_CLOSE_TYPE",
	"UPSTREAM_FILTER_STATE(x)", "UPSTREAM_HEADER_BYTES_RECEIVED", "UPSTREAM_HEADER_BYTES_SENT", "UPSTREAM_HOST",
	"UPSTREAM_HOSTS_ATTEMPTED", "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT", "UPSTREAM_HOST_NAME", "UPSTREAM_HOST_NAMES_ATTEMPTED",
	"UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT", "UPSTREAM_HOST_NAME_WITHOUT_PORT", "UPSTREAM_LOCAL_ADDRESS",
	"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "UPSTREAM_LOCAL_CLOSE_REASON", "UPSTREAM_LOCAL_DNS_SAN", "UPSTREAM_LOCAL_IP_SAN",
	"UPSTREAM_LOCAL_PORT", "UPSTREAM_LOCAL_URI_SAN", "UPSTREAM_METADATA(x)", "UPSTREAM_PEER_CERT", "UPSTREAM_PEER_CERT_V_END",
	"UPSTREAM_PEER_CERT_V_START", "UPSTREAM_PEER_DNS_SAN", "UPSTREAM_PEER_IP_SAN", "UPSTREAM_PEER_ISSUER", "UPSTREAM_PEER_SUBJECT",
	"UPSTREAM_PEER_URI_SAN", "UPSTREAM_PROTOCOL", "UPSTREAM_REMOTE_ADDRESS", "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
	"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "UPSTREAM_REMOTE_PORT", "UPSTREAM_REQUEST_ATTEMPT_COUNT", "UPSTREAM_SERVER_NAME",
	"UPSTREAM_TLS_CIPHER", "UPSTREAM_TLS_GROUP", "UPSTREAM_TLS_SESSION_ID", "UPSTREAM_TLS_VERSION",
	"UPSTREAM_TRANSPORT_FAILURE_REASON", "UPSTREAM_WIRE_BYTES_RECEIVED", "UPSTREAM_WIRE_BYTES_SENT", "VIRTUAL_CLUSTER_NAME",
}

func TestEveryOperatorOfEnvoy(t *testing.T) {
	for _, op := range envoyOperators {
		f, err := Compile("%" + op + "%")
		if err != nil {
			t.Errorf("%s: %v", op, err)
			continue
		}
		f.Append(nil, &Context{}) // nothing is known, and nothing breaks
	}
}

// TestWireOperators has a row for each operator that TestOperators and TestFurtherOperators do not.
func TestWireOperators(t *testing.T) {
	c := inbound(t)
	i, d := c.Info, c.Info.Downstream
	i.DownstreamMeter = bytemeter.Meter{Received: 1, Sent: 2, HeaderReceived: 3, HeaderSent: 4, PlainReceived: 5, PlainSent: 6}
	i.UpstreamMeter = bytemeter.Meter{Received: 7, Sent: 8, HeaderReceived: 9, HeaderSent: 10, PlainReceived: 11, PlainSent: 12}
	i.DownstreamClose, i.UpstreamClose = streaminfo.ClosedByRemoteReset, streaminfo.ClosedByLocalReset
	i.DownstreamCloseReason, i.UpstreamCloseReason = "why", "as well"
	i.RouteLookUps, i.RouteTime, i.UpstreamConnectionID = 2, 1500*time.Nanosecond, 42
	i.UpstreamCertificate = testCertificate(t)
	d.LocalCertificate = testCertificate(t)
	d.LocalCertificate.Extensions = append(d.LocalCertificate.Extensions, otherNameExtension(t, "me@a.test"))
	d.Listener, d.JA3, d.JA4 = "inbound", "j3", "j4"
	for in, want := range map[string]string{
		"%DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_SENT%":                                          "1 2",
		"%DOWNSTREAM_HEADER_BYTES_RECEIVED% %DOWNSTREAM_HEADER_BYTES_SENT%":                                      "3 4",
		"%DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED% %DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT%":            "5 6",
		"%UPSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_WIRE_BYTES_SENT%":                                              "7 8",
		"%UPSTREAM_HEADER_BYTES_RECEIVED% %UPSTREAM_HEADER_BYTES_SENT%":                                          "9 10",
		"%UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED% %UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT%":                "11 12",
		"%DOWNSTREAM_DETECTED_CLOSE_TYPE% %UPSTREAM_DETECTED_CLOSE_TYPE%":                                        "RemoteReset LocalReset",
		"%DOWNSTREAM_LOCAL_CLOSE_REASON% %UPSTREAM_LOCAL_CLOSE_REASON%":                                          "why as well",
		"%ROUTE_RESOLUTION_COUNT% %ROUTE_RESOLUTION_TIME_US% %UPSTREAM_CONNECTION_IDS_ATTEMPTED%":                "2 1 42",
		"%LISTENER_NAME% %TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT%":                                            "inbound j3 j4",
		"%STREAM_INFO_REQ(:METHOD)% %UPSTREAM_FILTER_STATE(a:PLAIN)%":                                            "HEAD -",
		"[%DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID%%DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID%]":                  "[]",
		"%DOWNSTREAM_LOCAL_SUBJECT% %DOWNSTREAM_LOCAL_URI_SAN% %DOWNSTREAM_LOCAL_DNS_SAN%":                       "CN=leaf,O=o spiffe://cluster.local/ns/a/sa/b a.test,b.test",
		"%DOWNSTREAM_LOCAL_IP_SAN% %DOWNSTREAM_LOCAL_EMAIL_SAN% %DOWNSTREAM_LOCAL_OTHERNAME_SAN%":                "10.0.0.1 x@a.test me@a.test",
		"%UPSTREAM_LOCAL_URI_SAN% %UPSTREAM_LOCAL_DNS_SAN% %UPSTREAM_LOCAL_IP_SAN%":                              "spiffe://cluster.local/ns/a/sa/b a.test,b.test 10.0.0.1",
		"%DOWNSTREAM_TLS_GROUP% %DOWNSTREAM_TLS_SESSION_ID% %DOWNSTREAM_PEER_ISSUER_SERIAL% %DOWNSTREAM_CX_RTT%": "- - - -",
	} {
		if got := string(mustCompile(t, in).Append(nil, c)); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// otherNameExtension is a SAN extension with one name of the kind "user principal name".
func otherNameExtension(t *testing.T, name string) pkix.Extension {
	t.Helper()
	marshal := func(v any, params string) []byte {
		b, err := asn1.MarshalWithParams(v, params)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	kind := marshal(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}, "")
	value := marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: marshal(name, "utf8")}, "")
	other := marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: append(kind, value...)}, "")
	return pkix.Extension{Id: sanOID, Value: marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: other}, "")}
}

// FuzzOtherNames: certificates come from clients.
func FuzzOtherNames(f *testing.F) {
	f.Add([]byte{0x30, 0x03, 0xa0, 0x01, 0x06})
	f.Fuzz(func(_ *testing.T, b []byte) {
		otherNames(&x509.Certificate{Extensions: []pkix.Extension{{Id: sanOID, Value: b}}})
	})
}
