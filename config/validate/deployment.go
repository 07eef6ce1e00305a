package validate

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

// deployment checks what makes a Deployment of programs: the rest of a pod is Kubernetes' to judge.
func deployment(c *checker, p *field.Path, spec any) {
	s := spec.(*appsv1.DeploymentSpec)
	if s.Replicas != nil && *s.Replicas < 0 {
		c.add(p.Child("replicas"), "%d is negative; use 0 for none", *s.Replicas)
	}
	template := p.Child("template")
	c.labels(template.Child("metadata", "labels"), s.Template.Labels)
	selector, err := metav1.LabelSelectorAsSelector(s.Selector)
	switch {
	case s.Selector == nil:
		c.add(p.Child("selector"), "missing; repeat labels of spec.template.metadata.labels in matchLabels")
	case err != nil:
		c.add(p.Child("selector"), "%v", err)
	case !selector.Matches(labels.Set(s.Template.Labels)):
		c.add(p.Child("selector"), "does not select the labels of spec.template.metadata.labels; make them agree")
	}
	containers := template.Child("spec", "containers")
	if len(s.Template.Spec.Containers) == 0 {
		c.add(containers, "missing; name at least one container")
	}
	names := map[string]bool{}
	for i, one := range s.Template.Spec.Containers {
		at := containers.Index(i)
		switch {
		case !label1123.MatchString(one.Name) || len(one.Name) > 63:
			c.add(at.Child("name"), "%q is not a container's name: lower-case letters, digits and '-'", one.Name)
		case names[one.Name]:
			c.add(at.Child("name"), "%q is the name of another container as well; rename one", one.Name)
		}
		names[one.Name] = true
		if one.Image == "" {
			c.add(at.Child("image"), "missing")
		}
		ports := map[string]bool{}
		for j, port := range one.Ports {
			pt := at.Child("ports").Index(j)
			c.port(pt.Child("containerPort"), int64(port.ContainerPort), false)
			protocol := port.Protocol
			switch protocol {
			case "":
				protocol = corev1.ProtocolTCP
			case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
			default:
				c.add(pt.Child("protocol"), "%q is not a protocol; use TCP, UDP or SCTP", protocol)
			}
			key := fmt.Sprintf("%d/%s", port.ContainerPort, protocol)
			if ports[key] {
				c.add(pt.Child("containerPort"), "%s is there twice; remove one", key)
			}
			ports[key] = true
		}
		for j, variable := range one.Env {
			if variable.Name == "" {
				c.add(at.Child("env").Index(j).Child("name"), "missing")
			}
		}
	}
}
