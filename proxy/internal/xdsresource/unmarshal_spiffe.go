package xdsresource

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// spiffe reads the one validator that there is: trust bundles by trust domain.
func (p *parser) spiffe(path string, e *corev3.TypedExtensionConfig) map[string][]byte {
	var m tlsv3.SPIFFECertValidatorConfig
	if !p.message(path, e.GetTypedConfig(), &m) {
		return nil
	}
	out := map[string][]byte{}
	if b := m.GetTrustBundles(); b != nil { // which goes before trust_domains
		bundles, err := trustBundles(p.dataSource(join(path, "trust_bundles"), b))
		if err != nil {
			p.bad(join(path, "trust_bundles"), "%v", err)
		}
		return bundles
	}
	for i, d := range m.GetTrustDomains() {
		here := at(join(path, "trust_domains"), i)
		if _, twice := out[d.GetName()]; twice {
			p.bad(join(here, "name"), "trust domain %q stands there twice", d.GetName())
		}
		bundle := p.dataSource(join(here, "trust_bundle"), d.GetTrustBundle())
		if err := checkBundle(bundle); err != nil {
			p.bad(join(here, "trust_bundle"), "%v", err)
		}
		out[d.GetName()] = bundle
	}
	if len(out) == 0 {
		p.bad(path, "trust_domains or trust_bundles is required")
	}
	return out
}

// trustBundles reads a SPIFFE trust bundle map: JSON with a set of keys for each trust domain, of which those for X.509-SVIDs count
// (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Trust_Domain_and_Bundle.md). The bundles are returned as PEM.
func trustBundles(raw []byte) (map[string][]byte, error) {
	var in struct {
		Domains map[string]struct {
			Keys []struct {
				Use string   `json:"use"`
				X5C []string `json:"x5c"`
			} `json:"keys"`
		} `json:"trust_domains"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for name, d := range in.Domains {
		var bundle bytes.Buffer
		for _, k := range d.Keys {
			if k.Use != "x509-svid" {
				continue
			}
			if len(k.X5C) != 1 {
				return nil, errors.New("trust domain " + name + ": a key for x509-svid needs one certificate in x5c")
			}
			der, err := base64.StdEncoding.DecodeString(k.X5C[0])
			if err != nil {
				return nil, errors.New("trust domain " + name + ": x5c is no base64")
			}
			_ = pem.Encode(&bundle, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a buffer takes all
		}
		if err := checkBundle(bundle.Bytes()); err != nil {
			return nil, errors.New("trust domain " + name + ": " + err.Error())
		}
		out[name] = bundle.Bytes()
	}
	if len(out) == 0 {
		return nil, errors.New("there are no trust_domains")
	}
	return out, nil
}

// ticketKeyLength is that of Envoy's and nginx's keys: a name, and keys for HMAC and AES.
const ticketKeyLength = 80

func (p *parser) ticketKeys(path string, m *tlsv3.TlsSessionTicketKeys) TicketKeys {
	var out TicketKeys
	for i, k := range m.GetKeys() {
		key := p.dataSource(at(join(path, "keys"), i), k)
		if len(key) != ticketKeyLength {
			p.bad(at(join(path, "keys"), i), "has %d bytes, a session ticket key has %d", len(key), ticketKeyLength)
		}
		out = append(out, key)
	}
	return out
}

// watch notes a directory whose moves mean that the secret's files have changed.
func (p *parser) watch(d *corev3.WatchedDirectory) {
	if dir := d.GetPath(); dir != "" {
		p.directories = append(p.directories, dir)
	}
}
