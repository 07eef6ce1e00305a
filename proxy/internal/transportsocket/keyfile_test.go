package transportsocket_test

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/youmark/pkcs8"
	"golang.org/x/crypto/ocsp"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/lateen-mesh/lateen/pkg/certtest"
	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// signer is the key of a pair or authority.
func signer(t *testing.T, keyPEM []byte) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode(keyPEM)
	if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		return k.(crypto.Signer)
	}
	k, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestKeysWithPasswords: a key that a password protects serves as one that none does, in each form.
func TestKeysWithPasswords(t *testing.T) {
	ca := certtest.New(t)
	pair := ca.Issue(t, certtest.Names("a.example"))
	key := signer(t, pair.Key)
	der, err := pkcs8.MarshalPrivateKey(key, []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	modern := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}))
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 it is what is tested
	block, err := x509.EncryptPEMBlock(rand.Reader, "PRIVATE KEY", plain, []byte("secret"), x509.PEMCipherAES256) //nolint:staticcheck // as above
	if err != nil {
		t.Fatal(err)
	}
	older := string(pem.EncodeToMemory(block))
	file := func(e *pkcs12.Encoder) string {
		b, err := e.Encode(key, pair.Cert, []*x509.Certificate{ca.Cert}, "secret")
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(b)
	}
	withKey := func(key, password string) string {
		return fmt.Sprintf("{certificate_chain: {inline_string: %q}, private_key: {inline_string: %q}, password: {inline_string: %q}}", pair.Chain, key, password)
	}
	inPKCS12 := func(file, password string) string {
		return fmt.Sprintf("{pkcs12: {inline_bytes: %q}, password: {inline_string: %q}}", file, password)
	}
	for _, c := range []struct{ name, cert, refuse string }{
		{"PKCS#8", withKey(modern, "secret"), ""},
		{"PKCS#8, another password", withKey(modern, "other"), "private_key: the key cannot be decrypted"},
		{"PEM", withKey(older, "secret"), ""},
		{"PEM, another password", withKey(older, "other"), "private_key: the key cannot be decrypted"},
		{"no need of a password", withKey(string(pair.Key), "secret"), ""},
		{"PKCS#12", inPKCS12(file(pkcs12.Modern2023), "secret"), ""},
		{"PKCS#12 of older tools", inPKCS12(file(pkcs12.LegacyDES), "secret"), ""},
		{"PKCS#12, another password", inPKCS12(file(pkcs12.Modern2023), "other"), "pkcs12: PKCS#12: decryption password incorrect"},
		{"no PKCS#12", inPKCS12("eA==", ""), "pkcs12: PKCS#12: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			common := "tls_certificates: [" + c.cert + "]"
			if c.refuse != "" {
				err := proxytest.Check(proxytest.Config{
					FilterChain: "transport_socket: {name: envoy.transport_sockets.tls, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {" + common + "}}}",
				})
				if err == nil || !strings.Contains(err.Error(), c.refuse) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%v, want %q and no password", err, c.refuse)
				}
				return
			}
			st, err := get(t, secured(t, common, ""), &tls.Config{ServerName: "a.example"})
			if err != nil || !st.PeerCertificates[0].Equal(pair.Cert) {
				t.Errorf("%v, %d certificates", err, len(st.PeerCertificates))
			}
		})
	}
}

// TestStaples: who asks for an OCSP response gets it while it is good, and what becomes of it then is the policy's to say.
func TestStaples(t *testing.T) {
	ca := certtest.New(t)
	pair, other := ca.Issue(t, nil), ca.Issue(t, nil)
	response := func(of certtest.Pair, status int, end time.Duration) string {
		b, err := ocsp.CreateResponse(ca.Cert, ca.Cert, ocsp.Response{
			Status: status, SerialNumber: of.Cert.SerialNumber, ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(end),
		}, signer(t, ca.KeyPEM(t)))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(", ocsp_staple: {inline_bytes: %q}}", base64.StdEncoding.EncodeToString(b))
	}
	with := func(staple string) string { return strings.TrimSuffix(certificate(pair), "}") + staple }
	good, ended := with(response(pair, ocsp.Good, time.Hour)), with(response(pair, ocsp.Good, -time.Minute))
	for _, c := range []struct {
		name, cert, policy string
		sent               bool
		refuse             string // of the configuration
		fails              bool   // the handshake
		stat               string
	}{
		{name: "good", cert: good, policy: "LENIENT_STAPLING", sent: true, stat: "ocsp_staple_responses"},
		{name: "good and required", cert: good, policy: "MUST_STAPLE", sent: true, stat: "ocsp_staple_responses"},
		{name: "ended", cert: ended, policy: "LENIENT_STAPLING", stat: "ocsp_staple_omitted"},
		{name: "ended, strictly", cert: ended, policy: "STRICT_STAPLING", fails: true, stat: "ocsp_staple_failed"},
		{name: "ended and required", cert: ended, policy: "MUST_STAPLE", fails: true, stat: "ocsp_staple_failed"},
		{name: "none, strictly", cert: certificate(pair), policy: "STRICT_STAPLING", stat: "ocsp_staple_omitted"},
		{name: "of another certificate", cert: with(response(other, ocsp.Good, time.Hour)), policy: "LENIENT_STAPLING", refuse: "ocsp_staple: the response is about another certificate"},
		{name: "revoked", cert: with(response(pair, ocsp.Revoked, time.Hour)), policy: "LENIENT_STAPLING", refuse: "ocsp_staple: the response does not say that the certificate is good"},
	} {
		t.Run(c.name, func(t *testing.T) {
			common, more := "tls_certificates: ["+c.cert+"]", ", ocsp_staple_policy: "+c.policy
			if c.refuse != "" {
				err := proxytest.Check(proxytest.Config{
					FilterChain: "transport_socket: {name: envoy.transport_sockets.tls, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {" + common + "}" + more + "}}",
				})
				if err == nil || !strings.Contains(err.Error(), c.refuse) {
					t.Errorf("%v, want %q", err, c.refuse)
				}
				return
			}
			p := secured(t, common, more)
			st, err := get(t, p, &tls.Config{})
			if (err != nil) != c.fails || len(st.OCSPResponse) > 0 != c.sent {
				t.Errorf("%v, a response of %d bytes", err, len(st.OCSPResponse))
			}
			p.WantStats(map[string]int64{"listener.main.ssl.ocsp_staple_requests": 1, "listener.main.ssl." + c.stat: 1})
		})
	}
}
