package debug

import (
	"net/http"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config/schema"
)

// mesh shows the mesh configuration in force over what holds where it says nothing.
func (s *Server) mesh(w http.ResponseWriter, _ *http.Request) {
	all := defaultMeshConfig()
	if given := s.opts.MeshConfig(); given != nil {
		// Field by field: merged, what is given as false or zero would not count.
		given.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			all.ProtoReflect().Set(f, v)
			return true
		})
	}
	writeProto(w, all)
}

// defaultMeshConfig is Istio's default (pkg/config/mesh, DefaultMeshConfig) in those fields whose zero value is another.
func defaultMeshConfig() *meshconfig.MeshConfig {
	return &meshconfig.MeshConfig{
		ProxyListenPort: 15001, ProxyInboundListenPort: 15006, ConnectTimeout: durationpb.New(10 * time.Second),
		IngressService: "istio-ingressgateway", IngressControllerMode: meshconfig.MeshConfig_STRICT, IngressClass: "istio",
		TrustDomain: "cluster.local", RootNamespace: "istio-system", EnableAutoMtls: wrapperspb.Bool(true),
		OutboundTrafficPolicy: &meshconfig.MeshConfig_OutboundTrafficPolicy{Mode: meshconfig.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY},
		DnsRefreshRate:        durationpb.New(time.Minute),
	}
}

func (s *Server) configz(w http.ResponseWriter, r *http.Request) {
	kind, namespace := wanted(r, "kind"), wanted(r, "namespace")
	out := []map[string]any{}
	for _, store := range s.opts.Stores {
		for _, o := range store.Store.Objects() {
			if !kind(o.Kind.Name) || !namespace(o.Namespace) {
				continue
			}
			m, err := o.Map()
			if err != nil {
				m = map[string]any{"kind": o.Kind.Name, "metadata": map[string]string{"name": o.Name, "namespace": o.Namespace}, "error": err.Error()}
			}
			if o.Kind.Name == "Secret" {
				hideEntries(m)
			}
			out = append(out, m)
		}
	}
	writeJSON(w, out)
}

// hideEntries keeps the names of a Secret's entries and drops what they hold.
func hideEntries(m map[string]any) {
	for _, field := range []string{"data", "stringData"} {
		entries, ok := m[field].(map[string]any)
		if !ok {
			delete(m, field)
			continue
		}
		for name := range entries {
			entries[name] = "redacted"
		}
	}
}

// mistakeJSON is one mistake in a file.
type mistakeJSON struct {
	Store        string `json:"store"`
	File         string `json:"file"`
	Line         int    `json:"line,omitempty"`
	Object       string `json:"object,omitempty"`
	Field        string `json:"field,omitempty"`
	Text         string `json:"text"`
	LastGoodKept bool   `json:"lastGoodKept"`
}

// noEffectJSON is part of a good object that does nothing here.
type noEffectJSON struct {
	Object string `json:"object"`
	Field  string `json:"field,omitempty"`
	Text   string `json:"text"`
}

type errorsJSON struct {
	Mistakes []mistakeJSON  `json:"mistakes"`
	NoEffect []noEffectJSON `json:"noEffect"`
}

func (s *Server) errors(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.allErrors()) }

func (s *Server) allErrors() errorsJSON {
	out := errorsJSON{Mistakes: []mistakeJSON{}, NoEffect: []noEffectJSON{}}
	for _, store := range s.opts.Stores {
		for _, m := range store.Store.Mistakes() {
			j := mistakeJSON{Store: store.Name, File: m.File, Line: m.Line, Field: m.Field, Text: m.Text, LastGoodKept: m.Kept}
			if m.Key.Kind != nil {
				j.Object = m.Key.String()
			}
			out.Mistakes = append(out.Mistakes, j)
		}
	}
	for _, p := range s.opts.Problems() {
		out.NoEffect = append(out.NoEffect, noEffectJSON{p.Origin.String(), p.Origin.Field, p.Text})
	}
	out.NoEffect = append(out.NoEffect, s.patches.of(s.opts.View().Snapshot(), s.opts.XDS.Status())...)
	return out
}

// resourcesz lists the kinds that are read.
func (s *Server) resourcesz(w http.ResponseWriter, _ *http.Request) {
	type kindJSON struct{ Group, Version, Kind string }
	out := []kindJSON{}
	for _, k := range schema.All() {
		out = append(out, kindJSON{k.Group, k.Versions[0], k.Name})
	}
	writeJSON(w, out)
}

func (s *Server) cachez(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.opts.Cache.Stats()) }
