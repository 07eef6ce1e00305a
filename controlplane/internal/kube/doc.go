// Package kube follows objects of an API server of Kubernetes: it connects (client.go), lists and watches a resource and tells what becomes of its
// objects (follow.go), and knows how it is doing (health.go).
//
// The connection, the lists, the watches and their repetition are client-go's. It keeps no object, and judges nothing of what is in them:
// configstore/kube and serviceregistry/kube do, which import it beside package controlplane. It only reads.
package kube
