package format

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func testCertificate(t *testing.T) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, _ := url.Parse("spiffe://cluster.local/ns/a/sa/b")
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(0xabcdef), Subject: pkix.Name{CommonName: "leaf", Organization: []string{"o"}},
		NotBefore: time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), NotAfter: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		URIs: []*url.URL{uri}, DNSNames: []string{"a.test", "b.test"}, EmailAddresses: []string{"x@a.test"}, IPAddresses: []net.IP{{10, 0, 0, 1}},
	}
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFurtherOperators has a row for each operator that TestOperators does not.
func TestFurtherOperators(t *testing.T) {
	c := inbound(t)
	cert := testCertificate(t)
	state := &tls.ConnectionState{
		Version: tls.VersionTLS12, CipherSuite: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, ServerName: "up.test",
		PeerCertificates: []*x509.Certificate{cert, cert},
	}
	i := c.Info
	i.Downstream.TLS, i.UpstreamTLSState, i.UpstreamTLS = state, state, true
	i.Downstream.FilterChain, i.Downstream.Connected, i.Downstream.HandshakeDone = "chain", ms, 4*ms
	i.Downstream.OriginalDst = addr("10.9.9.9:80")
	i.DownstreamFailure = "TLS_error: no shared cipher"
	i.UpstreamProtocol, i.UpstreamConnectionID = streaminfo.HTTP2, 77
	i.RequestEnd, i.UpstreamConnect, i.UpstreamConnected, i.UpstreamTxFirst, i.UpstreamTxLast = 1+ms, 1+ms, 1+3*ms, 1+4*ms, 1+5*ms
	i.UpstreamRxFirst, i.UpstreamRxLast, i.ResponseStart, i.ResponseEnd = 1+6*ms, 1+7*ms, 1+6*ms, 1+8*ms
	i.Details = "via upstream"
	i.Tried(&cluster.Host{Name: "10.0.0.1:80", Hostname: "a.test:80", Address: xdsresource.Address{IP: netip.MustParseAddr("10.0.0.1"), Port: 80}})
	i.Tried(&cluster.Host{Name: "/up.sock"})
	i.Host = i.Attempted[0]
	c.LogType = DownstreamEnd
	c.Request = headers(":path: /new?b=2", "x-envoy-original-path: /old?a=1", ":authority: host.test")
	c.Trailers = headers("a: bcd", "ef: g")
	for in, want := range map[string]string{
		"%DOWNSTREAM_PEER_SUBJECT% %UPSTREAM_PEER_SUBJECT%":                                                                              "CN=leaf,O=o CN=leaf,O=o",
		"%DOWNSTREAM_PEER_ISSUER% %UPSTREAM_PEER_ISSUER%":                                                                                "CN=leaf,O=o CN=leaf,O=o",
		"%DOWNSTREAM_PEER_URI_SAN% %UPSTREAM_PEER_URI_SAN%":                                                                              "spiffe://cluster.local/ns/a/sa/b spiffe://cluster.local/ns/a/sa/b",
		"%DOWNSTREAM_PEER_DNS_SAN% %UPSTREAM_PEER_DNS_SAN%":                                                                              "a.test,b.test a.test,b.test",
		"%DOWNSTREAM_PEER_IP_SAN% %UPSTREAM_PEER_IP_SAN%":                                                                                "10.0.0.1 10.0.0.1",
		"%DOWNSTREAM_PEER_EMAIL_SAN%":                                                                                                    "x@a.test",
		"%DOWNSTREAM_PEER_SERIAL% %DOWNSTREAM_PEER_CHAIN_SERIALS%":                                                                       "abcdef abcdef,abcdef",
		"%DOWNSTREAM_PEER_FINGERPRINT_256% %DOWNSTREAM_PEER_FINGERPRINT_1%":                                                              fingerprint256(cert) + " " + fingerprint1(cert),
		"%DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256% %DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1%":                                                fingerprint256(cert) + "," + fingerprint256(cert) + " " + fingerprint1(cert) + "," + fingerprint1(cert),
		"%DOWNSTREAM_PEER_CERT:23%":                                                                                                      "-----BEGIN%20CERTIFICAT",
		"%UPSTREAM_PEER_CERT:10%":                                                                                                        "-----BEGIN",
		"%DOWNSTREAM_PEER_CERT_V_START% %DOWNSTREAM_PEER_CERT_V_END(%b %d %Y)%":                                                          "2025-01-02T03:04:05.000Z Jan 02 2026",
		"%UPSTREAM_PEER_CERT_V_START(%Y)% %UPSTREAM_PEER_CERT_V_END(%Y)%":                                                                "2025 2026",
		"%DOWNSTREAM_TLS_VERSION% %UPSTREAM_TLS_VERSION%":                                                                                "TLSv1.2 TLSv1.2",
		"%DOWNSTREAM_TLS_CIPHER% %UPSTREAM_TLS_CIPHER%":                                                                                  "ECDHE-RSA-AES128-GCM-SHA256 ECDHE-RSA-AES128-GCM-SHA256",
		"%UPSTREAM_SERVER_NAME%":                                                                                                         "up.test",
		"%DOWNSTREAM_DIRECT_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_LOCAL_PORT%":                "10.10.0.18:8080 10.10.0.18 8080",
		"%DOWNSTREAM_LOCAL_ADDRESS%":                                                                                                     "10.9.9.9:80",
		"%DOWNSTREAM_TRANSPORT_FAILURE_REASON%":                                                                                          "TLS_error:_no_shared_cipher",
		"%DOWNSTREAM_HANDSHAKE_DURATION%":                                                                                                "3",
		"%UPSTREAM_PROTOCOL% %UPSTREAM_CONNECTION_ID% %UPSTREAM_CONNECTION_POOL_READY_DURATION%":                                         "HTTP/2 77 4",
		"%UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT%":                                                                         "a.test:80 a.test",
		"%UPSTREAM_HOSTS_ATTEMPTED% %UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT%":                                                             "10.0.0.1:80,/up.sock 10.0.0.1,/up.sock",
		"%UPSTREAM_HOST_NAMES_ATTEMPTED% %UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT%":                                                   "a.test:80,/up.sock a.test,/up.sock",
		"%FILTER_CHAIN_NAME% %ACCESS_LOG_TYPE%":                                                                                          "chain DownstreamEnd",
		"%COMMON_DURATION(DS_RX_BEG:DS_RX_END)% %COMMON_DURATION(US_CX_BEG:US_CX_END:us)%":                                               "1 2000",
		"%COMMON_DURATION(US_HS_END:US_TX_BEG:ns)% %COMMON_DURATION(US_TX_END:US_RX_BEG:ms)%":                                            "1000000 1",
		"%COMMON_DURATION(US_RX_END:DS_TX_END:ms)% %COMMON_DURATION(DS_TX_BEG:DS_RX_BEG:ms)%":                                            "1 -",
		"%PATH% %PATH(NQ)% %PATH(WQ:PATH)% %PATH(NQ:ORIG)% %PATH(WQ:ORIG_OR_PATH)%":                                                      "/old?a=1 /old /new?b=2 /old /old?a=1",
		"%QUERY_PARAMS% %QUERY_PARAMS(PATH)%":                                                                                            "a=1 b=2",
		"%QUERY_PARAM(b)% %QUERY_PARAM(a)%":                                                                                              "2 -",
		"%REQUESTED_SERVER_NAME% %REQUESTED_SERVER_NAME(HOST_FIRST)% %REQUESTED_SERVER_NAME(SNI_FIRST:ORIG):8%":                          i.Downstream.SNI + " host.test outbound",
		"%RESPONSE_CODE_DETAILS% %RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%":                                                             "via_upstream via upstream",
		"%REQUEST_HEADER(:AUTHORITY)% %RESPONSE_HEADER(:STATUS)% %RESPONSE_TRAILER(EF)%":                                                 "host.test 200 g",
		"%RESPONSE_TRAILERS_BYTES% %BYTES_RETRANSMITTED% %PACKETS_RETRANSMITTED%":                                                        "7 0 0",
		"%ROUNDTRIP_DURATION% %CUSTOM_FLAGS%":                                                                                            "- -",
		`%COALESCE({"operators": [{"command": "REQ", "param": "x-none"}, {"command": "REQ", "param": ":authority", "max_length": 4}]})%`: "host",
		`%COALESCE({"operators": ["STREAM_ID", "ROUTE_NAME"]}):3%`:                                                                       "def",
	} {
		if got := string(mustCompile(t, in).Append(nil, c)); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	id := string(mustCompile(t, "%UNIQUE_ID%").Append(nil, c))
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) || id == string(mustCompile(t, "%UNIQUE_ID%").Append(nil, c)) {
		t.Errorf("unique id %q", id)
	}
	state.Version, state.CipherSuite = tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256
	if got := string(mustCompile(t, "%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER%").Append(nil, c)); got != "TLSv1.3 TLS_AES_128_GCM_SHA256" {
		t.Errorf("TLS 1.3: %q", got)
	}
	for in, want := range map[string]string{
		"%PATH(X)%": "neither WQ", "%PATH(WQ:X)%": "none of ORIG", "%COMMON_DURATION(A:DS_RX_BEG)%": `"A" is not supported`,
		"%COMMON_DURATION(DS_RX_BEG)%": "wants START:END", "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:m)%": "none of ms",
		"%COALESCE(x)%": "no JSON", "%COALESCE({})%": "at least one", `%COALESCE({"operators": ["NOPE"]})%`: "NOPE: is not supported",
		"%REQUESTED_SERVER_NAME(X)%": "none of SNI_ONLY", "%UPSTREAM_PEER_CERT_V_END(%Q)%": "not supported",
	} {
		if _, err := Compile(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", in, err, want)
		}
	}
}

// TestCipherNames holds OpenSSL's names for every suite that crypto/tls knows before TLS 1.3.
func TestCipherNames(t *testing.T) {
	for _, tt := range []struct {
		id   uint16
		want string
	}{
		{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384"},
		{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305"},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA"},
		{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA"},
		{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384"},
		{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, "DES-CBC3-SHA"},
	} {
		if got := tlsCipher(&tls.ConnectionState{Version: tls.VersionTLS12, CipherSuite: tt.id}); got != tt.want {
			t.Errorf("%s: %q, want %q", tls.CipherSuiteName(tt.id), got, tt.want)
		}
	}
}
