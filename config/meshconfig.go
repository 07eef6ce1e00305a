package config

import (
	"strings"

	"github.com/lateen-mesh/lateen/config/internal/decode"
	"github.com/lateen-mesh/lateen/config/validate"
	"go.yaml.in/yaml/v3"
	mesh "istio.io/api/mesh/v1alpha1"
)

// ParseMeshConfig reads an istio.mesh.v1alpha1.MeshConfig as Istio keeps it under the key `mesh`
// of ConfigMap istio. It returns what was written, without defaults filled in; an empty file is
// an empty MeshConfig. On mistakes the error is of type Problems and the MeshConfig nil.
func ParseMeshConfig(f File) (*mesh.MeshConfig, error) {
	mc := &mesh.MeshConfig{}
	var root yaml.Node
	if err := yaml.Unmarshal(f.Data, &root); err != nil {
		return nil, Problems{syntaxProblem(f.Name, 0, err)}
	}
	if len(root.Content) == 0 {
		return mc, nil
	}
	var d decode.Decoder
	tree := decode.Tree{Line: int32(root.Content[0].Line)}
	d.Into(root.Content[0], nil, mc, &tree)
	found := d.Problems()
	for _, v := range validate.MeshConfig(mc) {
		if !within(found, v.Field) {
			line, _ := tree.Find(v.Field)
			found = append(found, decode.Problem{Line: line, Field: v.Field, Text: v.Text})
		}
	}
	var ps Problems
	for _, p := range found {
		if strings.HasSuffix(p.Field, "outboundTrafficPolicy.mode") && strings.Contains(p.Text, "ALLOW_LIST") {
			p.Text += "; to allow only listed hosts, use REGISTRY_ONLY and a ServiceEntry for each host"
		}
		ps = append(ps, Problem{File: f.Name, Line: p.Line, Field: p.Field, Text: p.Text})
	}
	if len(ps) > 0 {
		return nil, ps
	}
	return mc, nil
}
