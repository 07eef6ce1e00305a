package schema

import mesh "istio.io/api/mesh/v1alpha1"

// IstioOperatorSpec is the spec of an install.istio.io/v1alpha1 IstioOperator. Istio dropped its
// proto from istio.io/api, so the fields are written down here, from
// https://istio.io/latest/docs/reference/config/istio.operator.v1alpha1/. Components and values
// stay free-form: they describe a Helm chart.
type IstioOperatorSpec struct {
	Profile              string           `json:"profile,omitempty"`
	InstallPackagePath   string           `json:"installPackagePath,omitempty"`
	Hub                  string           `json:"hub,omitempty"`
	Tag                  any              `json:"tag,omitempty"`
	Namespace            string           `json:"namespace,omitempty"`
	Revision             string           `json:"revision,omitempty"`
	CompatibilityVersion string           `json:"compatibilityVersion,omitempty"`
	ResourceSuffix       string           `json:"resourceSuffix,omitempty"`
	MeshConfig           *mesh.MeshConfig `json:"meshConfig,omitempty"`
	Components           map[string]any   `json:"components,omitempty"`
	AddonComponents      map[string]any   `json:"addonComponents,omitempty"`
	Values               map[string]any   `json:"values,omitempty"`
	UnvalidatedValues    map[string]any   `json:"unvalidatedValues,omitempty"`
}
