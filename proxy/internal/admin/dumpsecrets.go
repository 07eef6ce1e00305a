package admin

import (
	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/server"
)

func (d dumper) secrets() *adminv3.SecretsConfigDump {
	out := &adminv3.SecretsConfigDump{}
	for _, r := range d.view.Secrets {
		if !d.keep(r.Name) {
			continue
		}
		raw := withoutKeys(r.Raw)
		switch {
		case r.Static:
			out.StaticSecrets = append(out.StaticSecrets, &adminv3.SecretsConfigDump_StaticSecret{
				Name: r.Name, LastUpdated: updated(r.Record), Secret: raw,
			})
		case r.State == server.Active:
			out.DynamicActiveSecrets = append(out.DynamicActiveSecrets, &adminv3.SecretsConfigDump_DynamicSecret{
				Name: r.Name, VersionInfo: r.Version, LastUpdated: updated(r.Record), Secret: raw, ClientStatus: status(r.Record),
			})
		default:
			out.DynamicWarmingSecrets = append(out.DynamicWarmingSecrets, &adminv3.SecretsConfigDump_DynamicSecret{
				Name: r.Name, VersionInfo: "uninitialized", ClientStatus: status(r.Record),
			})
		}
	}
	return out
}

// redacted is what Envoy shows for a private key, "[redacted]" in base64 once it is JSON.
var redacted = []byte("[redacted]")

// withoutKeys takes private keys out of a secret.
func withoutKeys(raw *anypb.Any) *anypb.Any {
	var s tlsv3.Secret
	if raw == nil || raw.UnmarshalTo(&s) != nil {
		return nil
	}
	if c := s.GetTlsCertificate(); c != nil {
		c.PrivateKey = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: redacted}}
		c.Password = nil
	}
	out, err := anypb.New(&s)
	if err != nil {
		return nil
	}
	return out
}
