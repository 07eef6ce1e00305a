package agent

import (
	"testing"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// Whatever a certificate authority answers, the agent takes only what is for its key and its identity.
func FuzzAnswer(f *testing.F) {
	id := spiffe.ID{TrustDomain: "cluster.local", Namespace: "a", ServiceAccount: "b"}
	csr, key, err := certificateRequest(id)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("", "")
	f.Add(string(csr), string(key))
	f.Add("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
	f.Fuzz(func(t *testing.T, leaf, root string) {
		if got, err := newIdentity(id, key, []string{leaf, root}, nil); err == nil {
			t.Fatalf("a certificate out of nothing: %+v", got)
		}
	})
}
