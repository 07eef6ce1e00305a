package proxyconfig

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"strings"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// Secret is one secret of a dump. The dump never holds private keys: they are redacted by the proxy.
type Secret struct {
	Name  string
	State string // ACTIVE or WARMING
	Raw   json.RawMessage
	Msg   *tlsv3.Secret // nil while it has not arrived
}

func secrets(s section) ([]Secret, error) {
	var out []Secret
	for _, l := range []struct{ list, state string }{
		{"static_secrets", "ACTIVE"}, {"dynamic_active_secrets", "ACTIVE"}, {"dynamic_warming_secrets", "WARMING"},
	} {
		items, err := s.items(l.list)
		if err != nil {
			return nil, err
		}
		for i, item := range items {
			sec := Secret{State: l.state}
			if err := json.Unmarshal(item.pick("name"), &sec.Name); err != nil {
				return nil, fmt.Errorf("%s[%d]: name: %w", l.list, i, err)
			}
			raw, err := json.Marshal(item)
			if err != nil {
				return nil, err
			}
			sec.Raw = raw
			if body := item.pick("secret"); body != nil && l.state == "ACTIVE" {
				sec.Msg = &tlsv3.Secret{}
				if err := decode(body, sec.Msg); err != nil {
					return nil, fmt.Errorf("%s[%d]: %w", l.list, i, err)
				}
			}
			out = append(out, sec)
		}
	}
	return out, nil
}

// SecretsJSON returns the secrets as a JSON array.
func (d *Dump) SecretsJSON() json.RawMessage {
	parts := make([]string, len(d.Secrets))
	for i, s := range d.Secrets {
		parts[i] = string(s.Raw)
	}
	return json.RawMessage("[" + strings.Join(parts, ",") + "]")
}

// PrintSecrets writes the secret table; now decides which certificates are valid.
func (d *Dump) PrintSecrets(w io.Writer, now time.Time) error {
	t := table(w, 5)
	fmt.Fprintln(t, "RESOURCE NAME\tTYPE\tSTATUS\tVALID CERT\tSERIAL NUMBER\tNOT AFTER\tNOT BEFORE")
	for _, s := range d.Secrets {
		kind, pemBytes := "Cert Chain", s.Msg.GetTlsCertificate().GetCertificateChain().GetInlineBytes()
		if v := s.Msg.GetValidationContext(); v != nil {
			kind, pemBytes = "CA", v.GetTrustedCa().GetInlineBytes()
		}
		shown := certificates(pemBytes)
		if len(shown) == 0 {
			fmt.Fprintf(t, "%s\t%s\t%s\t%t\t%s\t%s\t%s\n", s.Name, kind, s.State, false, "", "", "")
			continue
		}
		if kind != "CA" {
			shown = shown[:1] // the leaf; of roots, each is trusted
		}
		for _, cert := range shown {
			valid := now.After(cert.NotBefore) && now.Before(cert.NotAfter)
			fmt.Fprintf(t, "%s\t%s\t%s\t%t\t%x\t%s\t%s\n", s.Name, kind, s.State, valid, cert.SerialNumber,
				cert.NotAfter.UTC().Format(time.RFC3339), cert.NotBefore.UTC().Format(time.RFC3339))
		}
	}
	return t.Flush()
}

// certificates are those of a PEM text, up to the first that is none.
func certificates(b []byte) []*x509.Certificate {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return out
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return out
		}
		out = append(out, c)
	}
}
