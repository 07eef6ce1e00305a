package schema

import (
	"encoding/json"
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// IngressGroup is the group of Kubernetes' Ingress.
const IngressGroup = "networking.k8s.io"

// The kinds by which Kubernetes lets requests in (https://kubernetes.io/docs/concepts/services-networking/ingress/). Columns are kubectl's.
var (
	Ingress = &Kind{
		Group: IngressGroup, Versions: []string{"v1"}, Name: "Ingress",
		Plural: "ingresses", Singular: "ingress", ShortNames: []string{"ing"}, Namespaced: true, HasSpec: true,
		Columns: []Column{
			{Name: "CLASS", Value: func(s any) string {
				if name := s.(*networkingv1.IngressSpec).IngressClassName; name != nil {
					return *name
				}
				return "<none>"
			}},
			{Name: "HOSTS", Value: func(s any) string { return ingressHosts(s.(*networkingv1.IngressSpec).Rules) }},
			{Name: "ADDRESS", Status: ingressAddresses},
			{Name: "PORTS", Value: func(s any) string {
				if len(s.(*networkingv1.IngressSpec).TLS) > 0 {
					return "80, 443"
				}
				return "80"
			}},
			{Name: "AGE"},
		},
		New: func() any { return new(networkingv1.IngressSpec) },
	}
	IngressClass = &Kind{
		Group: IngressGroup, Versions: []string{"v1"}, Name: "IngressClass",
		Plural: "ingressclasses", Singular: "ingressclass", HasSpec: true,
		Columns: []Column{
			{Name: "CONTROLLER", Value: func(s any) string { return s.(*networkingv1.IngressClassSpec).Controller }},
			{Name: "PARAMETERS", Value: func(s any) string {
				p := s.(*networkingv1.IngressClassSpec).Parameters
				switch {
				case p == nil:
					return "<none>"
				case p.APIGroup != nil && *p.APIGroup != "":
					return p.Kind + "." + *p.APIGroup + "/" + p.Name
				}
				return p.Kind + "/" + p.Name
			}},
			{Name: "AGE"},
		},
		New: func() any { return new(networkingv1.IngressClassSpec) },
	}
)

// Translated reports whether objects of the kind become Istio's before they count: those of the Gateway API and of Ingress. What became of them is in
// their status.
func (k *Kind) Translated() bool { return k.GatewayAPI() || k.Group == IngressGroup }

// ingressHosts are the first three hosts and how many rules there are beyond.
func ingressHosts(rules []networkingv1.IngressRule) string {
	const most = 3
	var hosts []string
	for i := range rules {
		if h := rules[i].Host; h != "" && len(hosts) < most {
			hosts = append(hosts, h)
		}
	}
	switch {
	case len(hosts) == 0:
		return "*"
	case len(hosts) == most && len(rules) > most:
		return fmt.Sprintf("%s + %d more...", strings.Join(hosts, ","), len(rules)-most)
	}
	return strings.Join(hosts, ",")
}

func ingressAddresses(raw json.RawMessage) string {
	var st networkingv1.IngressStatus
	if json.Unmarshal(raw, &st) != nil {
		return ""
	}
	var out []string
	for _, a := range st.LoadBalancer.Ingress {
		if a.IP != "" {
			out = append(out, a.IP)
		} else if a.Hostname != "" {
			out = append(out, a.Hostname)
		}
	}
	return strings.Join(out, ",")
}
