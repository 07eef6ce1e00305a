package up

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/agent/status"
	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/analyze"
)

// fromDeployment makes an app of a Deployment: its labels, ports, identity, variables and replicas, with the program that stands for its container's image. It is nil,
// and the messages say why, when no program does. Containers beside the first that has one do not run.
func fromDeployment(o *config.Object, images map[string]image) (*app, []analyze.Message) {
	spec := o.Spec.(*appsv1.DeploymentSpec)
	pod := spec.Template.Spec
	var said []analyze.Message
	say := func(field, format string, args ...any) {
		said = append(said, analyze.Message{
			Code: analyze.NoEffect, Severity: analyze.Warning, Key: o.Key(), Field: field, File: o.Source.File, Line: o.Position(field), Text: fmt.Sprintf(format, args...),
		})
	}
	at := func(i int, field string) string {
		return "spec.template.spec.containers[" + strconv.Itoa(i) + "]." + field
	}
	chosen := slices.IndexFunc(pod.Containers, func(c corev1.Container) bool { return findImage(images, c.Image) != nil })
	if chosen < 0 {
		for i, c := range pod.Containers {
			say(at(i, "image"), "no program stands for %s, so the Deployment does not run; name one below images in %s", c.Image, AppsFile)
		}
		return nil, said
	}
	for i, c := range pod.Containers {
		if i != chosen {
			say(at(i, "image"), "container %s does not run: an app is one program, here container %s", c.Name, pod.Containers[chosen].Name)
		}
	}
	container := pod.Containers[chosen]
	program := findImage(images, container.Image)
	a := &app{
		Name: o.Name, Namespace: o.Namespace, ServiceAccount: pod.ServiceAccountName, Labels: spec.Template.Labels, Command: program.Command, Env: maps.Clone(program.Env),
	}
	if a.ServiceAccount == "" {
		a.ServiceAccount = pod.DeprecatedServiceAccount
	}
	if a.ServiceAccount == "" {
		a.ServiceAccount = "default" // as a pod's
	}
	if spec.Replicas != nil {
		n := int(*spec.Replicas)
		a.Replicas = &n
	}
	for _, p := range container.Ports {
		if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
			a.Ports = append(a.Ports, port(strconv.Itoa(int(p.ContainerPort))))
		}
	}
	for _, v := range container.Env {
		if v.ValueFrom == nil {
			if a.Env == nil {
				a.Env = map[string]string{}
			}
			a.Env[v.Name] = v.Value
		}
	}
	metricsOf(a, spec.Template.Annotations, say)
	if err := a.validate(); err != nil {
		say("spec", "the Deployment does not run: %v", err)
		return nil, said
	}
	return a, said
}

// metricsOf takes from a pod's annotations where the application's metrics are, as Istio's injector does: none of the three is no metrics, one of them enough.
func metricsOf(a *app, annotations map[string]string, say func(field, format string, args ...any)) {
	const at = "spec.template.metadata.annotations."
	of := status.Annotations{Scrape: annotations["prometheus.io/scrape"], Path: annotations["prometheus.io/path"], Port: annotations["prometheus.io/port"]}
	if text, ok := annotations["prometheus.istio.io/merge-metrics"]; ok {
		on, err := strconv.ParseBool(text)
		if err != nil {
			say(at+"prometheus.istio.io/merge-metrics", "%q is neither true nor false; the mesh's settings say whether metrics are merged", text)
		} else {
			a.mergeMetrics = &on
		}
	}
	if on, err := strconv.ParseBool(of.Scrape); of == (status.Annotations{}) || err == nil && !on {
		return
	}
	found, err := of.Application()
	if err != nil {
		say(at+"prometheus.io", "the application's metrics are not merged with the proxy's: %v", err)
	} else if found != nil {
		a.Metrics = port(strconv.Itoa(int(found.Port)) + found.Path)
	}
}

// findImage looks an image up as it is written, then without its digest and tag. A colon before the last slash belongs to the registry's port.
func findImage(images map[string]image, name string) *image {
	if img, ok := images[name]; ok {
		return &img
	}
	name, _, _ = strings.Cut(name, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name = name[:colon]
	}
	if img, ok := images[name]; ok {
		return &img
	}
	return nil
}

// distinct refuses two apps of one name: instances have it in their own.
func distinct(list []app) error {
	seen := map[string]string{}
	for _, a := range list {
		if other, ok := seen[a.Name]; ok {
			return fmt.Errorf("there are two apps %q, in the namespaces %s and %s: rename one", a.Name, other, a.Namespace)
		}
		seen[a.Name] = a.Namespace
	}
	return nil
}
