package kube

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// InCluster, in place of a kubeconfig's path, is the service account of the pod that this runs in.
const InCluster = "in-cluster"

// Client reads from one API server. Its methods may be called by several goroutines.
type Client struct {
	// Host is the server's address, as in the kubeconfig.
	Host string
	// Health says how the followed resources are doing.
	Health *Health

	dynamic         dynamic.Interface
	core, discovery cache.Getter
}

// Connect reads a kubeconfig and prepares the connection of its current context, with all its ways to authenticate, programs included. It asks the
// server nothing.
func Connect(kubeconfig string) (*Client, error) {
	cfg, err := restConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.UserAgent = "lateen-control-plane"
	c := &Client{Host: cfg.Host, Health: newHealth()}
	if c.dynamic, err = dynamic.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("kubernetes: %s: %w", kubeconfig, err)
	}
	if c.core, err = typed(cfg, corev1.SchemeGroupVersion, "/api"); err != nil {
		return nil, fmt.Errorf("kubernetes: %s: %w", kubeconfig, err)
	}
	if c.discovery, err = typed(cfg, discoveryv1.SchemeGroupVersion, "/apis"); err != nil {
		return nil, fmt.Errorf("kubernetes: %s: %w", kubeconfig, err)
	}
	return c, nil
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == InCluster {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("kubernetes: %w; outside of a pod give the path of a kubeconfig", err)
		}
		return cfg, nil
	}
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubernetes: kubeconfig %s: %w", kubeconfig, err)
	}
	return cfg, nil
}

// typed is a client of one group that reads its Go types from protobuf, which costs a fraction of JSON.
func typed(cfg *rest.Config, version schema.GroupVersion, path string) (cache.Getter, error) {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(discoveryv1.AddToScheme(scheme))
	c := rest.CopyConfig(cfg)
	c.GroupVersion, c.APIPath = &version, path
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.ContentType, c.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	return rest.RESTClientFor(c)
}

// Resource is one resource that can be followed.
type Resource struct {
	// Name is what people call it: pods, virtualservices.networking.istio.io.
	Name string
	// Source lists and watches it.
	Source cache.ListerWatcher
	// Example is an empty object of the type that the source gives.
	Example runtime.Object
}

// Pods are *corev1.Pod of all namespaces.
func (c *Client) Pods() Resource {
	return Resource{"pods", cache.NewListWatchFromClient(c.core, "pods", "", fields.Everything()), &corev1.Pod{}}
}

// Nodes are *corev1.Node.
func (c *Client) Nodes() Resource {
	return Resource{"nodes", cache.NewListWatchFromClient(c.core, "nodes", "", fields.Everything()), &corev1.Node{}}
}

// EndpointSlices are *discoveryv1.EndpointSlice of all namespaces.
func (c *Client) EndpointSlices() Resource {
	return Resource{"endpointslices.discovery.k8s.io", cache.NewListWatchFromClient(c.discovery, "endpointslices", "", fields.Everything()), &discoveryv1.EndpointSlice{}}
}

// Objects are those of any resource, as *unstructured.Unstructured, of one namespace or, with "", of all. selector chooses by fields; "" for all objects.
func (c *Client) Objects(resource schema.GroupVersionResource, namespace, selector string) Resource {
	name := resource.Resource
	if resource.Group != "" {
		name += "." + resource.Group
	}
	var from dynamic.ResourceInterface = c.dynamic.Resource(resource)
	if namespace != "" {
		from = c.dynamic.Resource(resource).Namespace(namespace)
	}
	return Resource{name, listWatch(from, selector), &unstructured.Unstructured{}}
}
