package debug

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
)

// servicePort and serviceJSON have the keys of Istio's registryz.
type servicePort struct {
	Name     string `json:"name,omitempty"`
	Port     uint32 `json:"port"`
	Protocol string `json:"protocol"`
}

type serviceJSON struct {
	Hostname       string            `json:"hostname"`
	Ports          []servicePort     `json:"ports,omitempty"`
	Addresses      []string          `json:"addresses,omitempty"`
	Resolution     string            `json:"resolution"`
	MeshExternal   bool              `json:"meshExternal"`
	Attributes     serviceAttributes `json:"Attributes"`
	Selector       map[string]string `json:"selector,omitempty"`
	Origin         string            `json:"origin,omitempty"`
	EndpointsCount int               `json:"endpointsCount"`
}

type serviceAttributes struct {
	ServiceRegistry string `json:"ServiceRegistry"`
	Name            string `json:"Name"`
	Namespace       string `json:"Namespace"`
}

var resolutions = map[model.Resolution]string{
	model.ResolutionStatic: "ClientSideLB", model.ResolutionDNS: "DNSLB", model.ResolutionDNSRR: "DNSRoundRobinLB", model.ResolutionPassthrough: "Passthrough",
}

var protocols = map[model.Protocol]string{
	model.ProtocolAuto: "UnsupportedProtocol", model.ProtocolTCP: "TCP", model.ProtocolTLS: "TLS", model.ProtocolHTTPS: "HTTPS", model.ProtocolHTTP: "HTTP",
	model.ProtocolHTTP2: "HTTP2", model.ProtocolGRPC: "GRPC", model.ProtocolGRPCWeb: "GRPC-Web", model.ProtocolUDP: "UDP",
	model.ProtocolMongo: "Mongo", model.ProtocolMySQL: "MySQL",
}

func (s *Server) registryz(w http.ResponseWriter, _ *http.Request) {
	snap := s.opts.View().Snapshot()
	out := []serviceJSON{}
	for _, svc := range snap.Services.Values() {
		j := serviceJSON{
			Hostname: svc.Host, Addresses: svc.Addresses, Resolution: resolutions[svc.Resolution], MeshExternal: svc.External,
			Attributes: serviceAttributes{ServiceRegistry: "External", Name: svc.Name, Namespace: svc.Namespace},
			Selector:   svc.Selector, Origin: svc.Origin.String(),
		}
		if svc.Registry != "" {
			j.Attributes.ServiceRegistry = svc.Registry
		}
		if svc.Mesh {
			j.Attributes.ServiceRegistry = "Kubernetes"
		}
		for _, p := range svc.Ports {
			j.Ports = append(j.Ports, servicePort{p.Name, p.Number, protocols[p.Protocol]})
		}
		if set, ok := snap.Endpoints.Get(svc.Key()); ok {
			j.EndpointsCount = len(set.Instances)
		}
		out = append(out, j)
	}
	writeJSON(w, out)
}

func (s *Server) registries(w http.ResponseWriter, _ *http.Request) {
	out := []watch.Status{}
	if s.opts.Registries != nil {
		out = append(out, s.opts.Registries()...)
	}
	writeJSON(w, out)
}

type endpointJSON struct {
	Service     string            `json:"svc"`
	Address     string            `json:"address"`
	Port        uint32            `json:"port"`
	Labels      map[string]string `json:"labels,omitempty"`
	Account     string            `json:"serviceAccount,omitempty"`
	Namespace   string            `json:"namespace,omitempty"`
	Workload    string            `json:"workload,omitempty"`
	Locality    string            `json:"locality,omitempty"`
	Weight      uint32            `json:"weight,omitempty"`
	TLSMode     string            `json:"tlsMode"`
	Health      string            `json:"health"`
	ServicePort uint32            `json:"servicePort"`
}

func (s *Server) endpointz(w http.ResponseWriter, _ *http.Request) {
	snap := s.opts.View().Snapshot()
	out := []endpointJSON{}
	for _, set := range snap.Endpoints.Values() {
		host, _, _ := strings.Cut(set.Key, "/")
		for _, in := range set.Instances {
			e := endpointJSON{
				Service: fmt.Sprintf("%s:%d", host, in.ServicePort), Address: in.Address, Port: in.Port, Labels: in.Labels, Account: in.ServiceAccount,
				Namespace: in.Namespace, Workload: in.Workload, Weight: in.Weight, TLSMode: "disabled", Health: "healthy", ServicePort: in.ServicePort,
				Locality: strings.Trim(in.Locality.Region+"/"+in.Locality.Zone+"/"+in.Locality.SubZone, "/"),
			}
			if in.TLS == model.TLSModeIstio {
				e.TLSMode = "istio"
			}
			if in.Unhealthy {
				e.Health = "unhealthy"
			}
			out = append(out, e)
		}
	}
	writeJSON(w, out)
}

type workloadJSON struct {
	Name           string            `json:"name"`
	Namespace      string            `json:"namespace"`
	Address        string            `json:"address"`
	Labels         map[string]string `json:"labels,omitempty"`
	ServiceAccount string            `json:"serviceAccount,omitempty"`
	Services       []string          `json:"services,omitempty"`
}

func (s *Server) instancesz(w http.ResponseWriter, _ *http.Request) {
	snap := s.opts.View().Snapshot()
	out := []workloadJSON{}
	for _, wl := range snap.Workloads.Values() {
		services, _ := snap.ServicesOf.Get(wl.Key())
		out = append(out, workloadJSON{wl.Name, wl.Namespace, wl.Address, wl.Labels, wl.ServiceAccount, services})
	}
	writeJSON(w, out)
}

func (s *Server) mesh(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, s.opts.View().Snapshot().Mesh)
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
				redact(m)
			}
			out = append(out, m)
		}
	}
	writeJSON(w, out)
}

// redact keeps the names of a Secret's entries and drops what they hold.
func redact(m map[string]any) {
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

func (s *Server) cachez(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.opts.Cache.Stats()) }
