package credential

import (
	"bytes"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/pkg/certtest"
)

func TestParse(t *testing.T) {
	ca, other := certtest.New(t), certtest.New(t)
	a, b := ca.Issue(t, certtest.Names("a.example.com")), ca.Issue(t, certtest.Names("b.example.com"))
	crl := ca.CRL(t, b.Cert.SerialNumber)
	type data = map[string][]byte
	tests := []struct {
		name string
		data data
		text map[string]string // stringData
		want Credential
		err  string // entry and a part of the reason
	}{
		{name: "nothing", data: data{"password": []byte("secret")}},
		{name: "kubernetes.io/tls", data: data{"tls.crt": a.Chain, "tls.key": a.Key}, want: Credential{Certificate: a.Chain, Key: a.Key}},
		{
			name: "kubernetes.io/tls, mutual", data: data{"tls.crt": a.Chain, "tls.key": a.Key, "ca.crt": ca.PEM, "ca.crl": crl, "tls.ocsp-staple": {1}},
			want: Credential{Certificate: a.Chain, Key: a.Key, CA: ca.PEM, CRL: crl, Staple: []byte{1}},
		},
		{name: "generic", data: data{"cert": a.Chain, "key": a.Key, "cacert": ca.PEM, "crl": crl}, want: Credential{Certificate: a.Chain, Key: a.Key, CA: ca.PEM, CRL: crl}},
		{name: "roots alone", data: data{"ca.crt": ca.PEM}, want: Credential{CA: ca.PEM}},
		{name: "generic roots alone", data: data{"cacert": ca.PEM}, want: Credential{CA: ca.PEM}},
		{
			name: "both forms: the generic one counts", data: data{"cert": a.Chain, "key": a.Key, "cacert": ca.PEM, "tls.crt": b.Chain, "tls.key": b.Key, "ca.crt": other.PEM},
			want: Credential{Certificate: a.Chain, Key: a.Key, CA: ca.PEM},
		},
		{name: "a pair of one form, roots of the other", data: data{"tls.crt": a.Chain, "tls.key": a.Key, "cacert": ca.PEM}, want: Credential{Certificate: a.Chain, Key: a.Key, CA: ca.PEM}},
		{name: "as text", text: map[string]string{"tls.crt": string(a.Chain), "tls.key": string(a.Key)}, want: Credential{Certificate: a.Chain, Key: a.Key}},
		{
			name: "text wins over data", data: data{"tls.crt": b.Chain, "tls.key": b.Key},
			text: map[string]string{"tls.crt": string(a.Chain), "tls.key": string(a.Key)}, want: Credential{Certificate: a.Chain, Key: a.Key},
		},
		{name: "several roots", data: data{"ca.crt": append(bytes.Clone(ca.PEM), other.PEM...)}, want: Credential{CA: append(bytes.Clone(ca.PEM), other.PEM...)}},
		{name: "half a pair", data: data{"tls.crt": a.Chain}},
		{name: "key of another", data: data{"tls.crt": a.Chain, "tls.key": b.Key, "ca.crt": ca.PEM}, want: Credential{CA: ca.PEM}, err: "tls.crt: private key does not match"},
		{name: "no PEM", data: data{"cert": []byte("x"), "key": []byte("y")}, err: "cert: failed to find any PEM data"},
		{name: "exchanged", data: data{"tls.crt": a.Key, "tls.key": a.Chain}, err: "tls.crt: "},
		{name: "roots without PEM", data: data{"ca.crt": []byte("x")}, err: "ca.crt: holds no certificate"},
		{name: "roots that are a key", data: data{"ca.crt": a.Key}, err: "ca.crt: holds no certificate"},
		{name: "roots with a broken certificate", data: data{"ca.crt": []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")}, err: "ca.crt: "},
		{name: "a list that is none", data: data{"ca.crt": ca.PEM, "ca.crl": ca.PEM}, err: "ca.crl: holds no revocation list"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(&corev1.Secret{Data: tt.data, StringData: tt.text})
			if !got.Equal(tt.want) {
				t.Errorf("got certificate %d, key %d, CA %d, CRL %d bytes", len(got.Certificate), len(got.Key), len(got.CA), len(got.CRL))
			}
			var entry *EntryError
			entryName, reason, _ := strings.Cut(tt.err, ": ")
			switch {
			case tt.err == "" && err != nil:
				t.Error(err)
			case tt.err != "" && (!errors.As(err, &entry) || entry.Entry != entryName || !strings.Contains(entry.Reason, reason)):
				t.Errorf("error %v, want %s", err, tt.err)
			}
		})
	}
}

func TestExpired(t *testing.T) {
	ca := certtest.New(t)
	now := time.Now()
	from := func(a, b time.Duration) []byte {
		return ca.Issue(t, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(a), now.Add(b) }).Chain
	}
	for _, tt := range []struct {
		name string
		c    Credential
		want string
	}{
		{"good", Credential{Certificate: from(-time.Hour, time.Hour), CA: ca.PEM}, ""},
		{"nothing", Credential{}, ""},
		{"over", Credential{Certificate: from(-2*time.Hour, -time.Hour)}, "the certificate expired on "},
		{"not yet", Credential{Certificate: from(time.Hour, 2*time.Hour)}, "the certificate is not valid before "},
		{"roots", Credential{CA: from(-2*time.Hour, -time.Hour)}, "the roots for clients expired on "},
		{"one of two roots", Credential{CA: append(from(-2*time.Hour, -time.Hour), ca.PEM...)}, ""},
	} {
		if got := tt.c.Expired(now); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// FuzzParse: no Secret brings it down, and what it takes can be used.
func FuzzParse(f *testing.F) {
	ca := certtest.New(f)
	p := ca.Issue(f, nil)
	f.Add(p.Chain, p.Key, ca.PEM, ca.CRL(f))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte("x"), []byte(nil), []byte("y"))
	f.Fuzz(func(t *testing.T, cert, key, roots, crl []byte) {
		c, err := Parse(&corev1.Secret{Data: map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": roots, "ca.crl": crl}})
		if err != nil && len(key) > 16 && strings.Contains(err.Error(), string(key)) {
			t.Error("the error shows the key")
		}
		if len(c.Certificate) > 0 != (len(c.Key) > 0) {
			t.Error("half a pair")
		}
		c.Expired(time.Now())
	})
}
