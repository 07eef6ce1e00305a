package agent

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// FuzzAnswer: whatever a certificate authority signs, the agent takes only what is for its key and its
// identity and comes with a root; and what is no certificate is never taken.
func FuzzAnswer(f *testing.F) {
	id := spiffe.ID{TrustDomain: "cluster.local", Namespace: "a", ServiceAccount: "b"}
	_, key, err := certificateRequest(id, KeyKind{})
	if err != nil {
		f.Fatal(err)
	}
	own, err := keyOf(key)
	if err != nil {
		f.Fatal(err)
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	sign := func(uri *url.URL, public any) ([]byte, error) {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{uri}}
		return x509.CreateCertificate(rand.Reader, template, template, public, signer)
	}
	root, err := sign(id.URL(), signer.Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(id.URL().String(), true, root, []byte(nil))
	f.Add(id.URL().String(), false, root, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add("spiffe://cluster.local/ns/a/sa/c", true, root, []byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Add("https://cluster.local/ns/a/sa/b?x", true, []byte{0x30, 0}, []byte("x"))
	text := func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	f.Fuzz(func(t *testing.T, uri string, ours bool, root, other []byte) {
		if got, err := newIdentity(id, key, []string{string(other), text(root)}); err == nil {
			t.Fatalf("a certificate out of nothing: %+v", got)
		}
		u, err := url.Parse(uri)
		if err != nil {
			return
		}
		public := any(signer.Public())
		if ours {
			public = own
		}
		leaf, err := sign(u, public)
		if err != nil {
			return
		}
		_, rootErr := x509.ParseCertificate(root)
		want := ours && u.String() == id.URL().String() && rootErr == nil
		got, err := newIdentity(id, key, []string{text(leaf), text(root)})
		if (err == nil) != want {
			t.Fatalf("%q, our key %v, root %v: %v", uri, ours, rootErr, err)
		}
		if err == nil && (!bytes.Equal(got.Certificate.Leaf.Raw, leaf) || string(got.Roots) != text(root)) {
			t.Errorf("what was taken is not what was signed: %+v", got)
		}
	})
}
