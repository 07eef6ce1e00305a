package controlplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// trustDomain reads from the mesh's settings (MeshConfig) whose identities are issued, and the other trust domains whose identities are taken for those. It looks at
// nothing else of the file: a mistake elsewhere must not have the mesh issue identities of another domain. "" and none where no file is given, or it says nothing.
func trustDomain(meshFile string) (own string, aliases []string, err error) {
	if meshFile == "" {
		return "", nil, nil
	}
	raw, err := os.ReadFile(meshFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("the mesh's trust domain: %w", err)
	}
	var mesh struct {
		TrustDomain        string   `json:"trustDomain"`
		TrustDomainAliases []string `json:"trustDomainAliases"`
	}
	if err := yaml.Unmarshal(raw, &mesh); err != nil {
		return "", nil, fmt.Errorf("%s: the mesh's trust domain stands there, and it cannot be read: %w", meshFile, err)
	}
	if mesh.TrustDomain != "" {
		if err := spiffe.CheckTrustDomain(mesh.TrustDomain); err != nil {
			return "", nil, fmt.Errorf("%s: trustDomain: %w", meshFile, err)
		}
	}
	return mesh.TrustDomain, mesh.TrustDomainAliases, nil
}
