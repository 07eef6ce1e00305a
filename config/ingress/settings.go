// Package ingress says which Ingresses of Kubernetes are the mesh's, and which proxies serve them, by the mesh's settings and IngressClasses.
// The control plane and config/analyze ask it, so that what is reported is what happens. It reads nothing but what it is given.
package ingress

import (
	"cmp"
	"fmt"

	mesh "istio.io/api/mesh/v1alpha1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

const (
	// Controller is what an IngressClass names to have its Ingresses served by the mesh, as in Istio.
	Controller = "istio.io/ingress-controller"
	// ClassAnnotation names the class of an Ingress in the older way. It counts before spec.ingressClassName.
	ClassAnnotation = "kubernetes.io/ingress.class"
	// Namespace is where the proxies that serve Ingresses and their Service are.
	Namespace = "istio-system"
)

// Settings are those of the mesh (MeshConfig ingressControllerMode, ingressClass, ingressService and ingressSelector).
// https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-IngressControllerMode
type Settings struct {
	Off bool // ingressControllerMode OFF: no Ingress is served
	// Unclassed: Ingresses that say nothing of a class are served (DEFAULT). Otherwise (STRICT, which holds when nothing is said, as in Istio) they
	// are not.
	Unclassed bool
	Class     string // what the annotation must say
	Service   string // the name of the proxies' Service in Namespace, whose addresses are those of the Ingresses
	Selector  string // value of the label istio that the proxies have
}

// The defaults are Istio's.
const (
	defaultClass    = "istio"
	defaultService  = "istio-ingressgateway"
	defaultSelector = "ingressgateway"
)

// SettingsOf reads a mesh configuration; nil for the defaults.
func SettingsOf(mc *mesh.MeshConfig) Settings {
	s := Settings{
		Off:       mc.GetIngressControllerMode() == mesh.MeshConfig_OFF,
		Unclassed: mc.GetIngressControllerMode() == mesh.MeshConfig_DEFAULT,
		Class:     cmp.Or(mc.GetIngressClass(), defaultClass),
		Service:   cmp.Or(mc.GetIngressService(), defaultService),
		Selector:  mc.GetIngressSelector(),
	}
	if s.Selector == "" {
		// Who names a Service of his own mostly gives its proxies the same label; Istio's has another one.
		if s.Selector = s.Service; s.Service == defaultService {
			s.Selector = defaultSelector
		}
	}
	return s
}

// GatewaySelector chooses the proxies that serve Ingresses.
func (s Settings) GatewaySelector() map[string]string { return map[string]string{"istio": s.Selector} }

// Refusal is why an Ingress is not the mesh's.
type Refusal struct {
	Field, Text string
	// Elsewhere: somebody has written it for another controller. Otherwise it is likely a mistake.
	Elsewhere bool
}

// Refuses says why an Ingress of a set is not served; nil when it is.
func (s Settings) Refuses(o *config.Object, set *config.Set) *Refusal {
	if s.Off {
		return &Refusal{Field: "spec", Text: "the mesh's settings turn Ingress off (ingressControllerMode: OFF)", Elsewhere: true}
	}
	if class, annotated := o.Annotations[ClassAnnotation]; annotated {
		if class == s.Class {
			return nil
		}
		return &Refusal{Field: "metadata.annotations[" + ClassAnnotation + "]", Elsewhere: true, Text: fmt.Sprintf("class %q is not the mesh's, which is %q (ingressClass)", class, s.Class)}
	}
	const field = "spec.ingressClassName"
	if name := o.Spec.(*networkingv1.IngressSpec).IngressClassName; name != nil {
		class := set.Get(schema.IngressClass, "", *name)
		if class == nil {
			return &Refusal{Field: field, Text: fmt.Sprintf("there is no IngressClass %s; write one with controller %s", *name, Controller)}
		}
		if controller := class.Spec.(*networkingv1.IngressClassSpec).Controller; controller != Controller {
			return &Refusal{Field: field, Elsewhere: true, Text: fmt.Sprintf("IngressClass %s is of controller %s, not of %s", *name, controller, Controller)}
		}
		return nil
	}
	if s.Unclassed {
		return nil
	}
	return &Refusal{Field: field, Text: fmt.Sprintf("missing, and the mesh serves no Ingress without a class (ingressControllerMode: STRICT); name an IngressClass whose controller is %s, or say %s: %s", Controller, ClassAnnotation, s.Class)}
}
