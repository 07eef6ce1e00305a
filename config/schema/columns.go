package schema

import (
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// jsonArray renders a list as kubectl does for a column of a custom resource: ["a","b"], and
// nothing at all for an unset field.
func jsonArray(words []string) string {
	if len(words) == 0 {
		return ""
	}
	b, err := json.Marshal(words)
	if err != nil {
		return strings.Join(words, ",")
	}
	return string(b)
}

func itoa(n int) string { return strconv.Itoa(n) }

func secretEntries(s *corev1.Secret) int {
	n := len(s.Data)
	for k := range s.StringData {
		if _, ok := s.Data[k]; !ok {
			n++
		}
	}
	return n
}

// serviceColumns are kubectl's for a Service.
var serviceColumns = []Column{
	{Name: "TYPE", Value: func(s any) string { return string(serviceType(s.(*corev1.Service))) }},
	{Name: "CLUSTER-IP", Value: func(s any) string { return orNone(s.(*corev1.Service).Spec.ClusterIP) }},
	{Name: "EXTERNAL-IP", Value: func(s any) string { return externalIP(s.(*corev1.Service)) }},
	{Name: "PORT(S)", Value: func(s any) string { return servicePorts(s.(*corev1.Service)) }},
	{Name: "AGE"},
	{Name: "SELECTOR", Wide: true, Value: func(s any) string { return LabelString(s.(*corev1.Service).Spec.Selector) }},
}

// deploymentColumns are what is known of a Deployment from its object: `lateen up status` says what runs.
var deploymentColumns = []Column{
	{Name: "REPLICAS", Value: func(s any) string {
		if n := s.(*appsv1.DeploymentSpec).Replicas; n != nil {
			return itoa(int(*n))
		}
		return "1"
	}},
	{Name: "AGE"},
	{Name: "CONTAINERS", Wide: true, Value: func(s any) string {
		return joinContainers(s, func(c corev1.Container) string { return c.Name })
	}},
	{Name: "IMAGES", Wide: true, Value: func(s any) string {
		return joinContainers(s, func(c corev1.Container) string { return c.Image })
	}},
	{Name: "SELECTOR", Wide: true, Value: func(s any) string {
		if sel := s.(*appsv1.DeploymentSpec).Selector; sel != nil {
			return LabelString(sel.MatchLabels)
		}
		return "<none>"
	}},
}

func joinContainers(spec any, text func(corev1.Container) string) string {
	var out []string
	for _, c := range spec.(*appsv1.DeploymentSpec).Template.Spec.Containers {
		out = append(out, text(c))
	}
	return orNone(strings.Join(out, ","))
}

func serviceType(s *corev1.Service) corev1.ServiceType {
	if s.Spec.Type == "" {
		return corev1.ServiceTypeClusterIP
	}
	return s.Spec.Type
}

func externalIP(s *corev1.Service) string {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return s.Spec.ExternalName
	}
	return orNone(strings.Join(s.Spec.ExternalIPs, ","))
}

func servicePorts(s *corev1.Service) string {
	var out []string
	for _, p := range s.Spec.Ports {
		protocol := p.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		if p.NodePort != 0 {
			out = append(out, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, protocol))
		} else {
			out = append(out, fmt.Sprintf("%d/%s", p.Port, protocol))
		}
	}
	return orNone(strings.Join(out, ","))
}

func orNone(s string) string {
	if s == "" {
		return "<none>"
	}
	return s
}

// LabelString renders labels as kubectl does: sorted a=b,c=d, or <none>.
func LabelString(labels map[string]string) string {
	var out []string
	for k, v := range labels {
		out = append(out, k+"="+v)
	}
	sort.Strings(out)
	return orNone(strings.Join(out, ","))
}
