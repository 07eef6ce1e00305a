package debug

import (
	"encoding/json"
	"net/http"
)

// observedJSON is an object of the Gateway API, or an Ingress, and what became of it.
type observedJSON struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Namespace  string          `json:"namespace,omitempty"`
	Name       string          `json:"name"`
	Status     json.RawMessage `json:"status"`
}

// gatewayAPI answers with the objects of the Gateway API and Ingresses that concern this control plane.
func (s *Server) gatewayAPI(w http.ResponseWriter, r *http.Request) {
	kind, namespace := wanted(r, "kind"), wanted(r, "namespace")
	out := []observedJSON{}
	for _, store := range s.opts.Stores {
		for _, o := range store.Store.Objects() {
			if !o.Kind.Translated() || !kind(o.Kind.Name) || !namespace(o.Namespace) {
				continue
			}
			if status := s.opts.ObjectStatus(o.Key()); status != nil {
				out = append(out, observedJSON{o.APIVersion, o.Kind.Name, o.Namespace, o.Name, status})
			}
		}
	}
	writeJSON(w, out)
}
