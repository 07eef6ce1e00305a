package config

import (
	"strings"

	"github.com/lateen-mesh/lateen/config/internal/decode"
	"github.com/lateen-mesh/lateen/config/validate"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	mesh "istio.io/api/mesh/v1alpha1"
)

// ParseMeshConfig reads an istio.mesh.v1alpha1.MeshConfig as Istio keeps it under the key `mesh`
// of ConfigMap istio. It returns what was written, without defaults filled in; an empty file is
// an empty MeshConfig. On mistakes the error is of type Problems and the MeshConfig nil.
func ParseMeshConfig(f File) (*mesh.MeshConfig, error) {
	mc := &mesh.MeshConfig{}
	found, err := parseMesh(f, mc, func() []validate.Problem { return validate.MeshConfig(mc) })
	if err != nil {
		return nil, err
	}
	for i, p := range found {
		if strings.HasSuffix(p.Field, "outboundTrafficPolicy.mode") && strings.Contains(p.Text, "ALLOW_LIST") {
			found[i].Text += "; to allow only listed hosts, use REGISTRY_ONLY and a ServiceEntry for each host"
		}
	}
	if len(found) > 0 {
		return nil, problemsIn(f, found)
	}
	return mc, nil
}

// MeshNetworksKey is where ConfigMap istio holds MeshNetworks, as in Istio.
const MeshNetworksKey = "meshNetworks"

// ParseMeshNetworks reads an istio.mesh.v1alpha1.MeshNetworks as Istio keeps it under the key `meshNetworks` of ConfigMap istio. An empty file has no networks. On mistakes the
// error is of type Problems and the result nil.
func ParseMeshNetworks(f File) (*mesh.MeshNetworks, error) {
	out := &mesh.MeshNetworks{}
	found, err := parseMesh(f, out, func() []validate.Problem { return validate.MeshNetworks(out) })
	if err != nil {
		return nil, err
	}
	if len(found) > 0 {
		return nil, problemsIn(f, found)
	}
	return out, nil
}

// parseMesh reads a message of the mesh's settings and checks it.
func parseMesh(f File, into proto.Message, check func() []validate.Problem) ([]decode.Problem, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(f.Data, &root); err != nil {
		return nil, Problems{syntaxProblem(f.Name, 0, err)}
	}
	if len(root.Content) == 0 {
		return nil, nil
	}
	var d decode.Decoder
	tree := decode.Tree{Line: int32(root.Content[0].Line)}
	d.Into(root.Content[0], nil, into, &tree)
	found := d.Problems()
	for _, v := range check() {
		if !within(found, v.Field) {
			line, _ := tree.Find(v.Field)
			found = append(found, decode.Problem{Line: line, Field: v.Field, Text: v.Text})
		}
	}
	return found, nil
}

func problemsIn(f File, found []decode.Problem) error {
	var ps Problems
	for _, p := range found {
		ps = append(ps, Problem{File: f.Name, Line: p.Line, Field: p.Field, Text: p.Text})
	}
	return ps.Err()
}
