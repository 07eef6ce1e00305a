// Package kube is the registry of what runs in a cluster of Kubernetes: its pods are workloads, which Services and ServiceEntries choose by their
// labels, and Services that choose none are where their EndpointSlices say.
//
// convert.go makes workloads and registrations of pods and slices, without I/O; book.go holds what is known and says what changed; kube.go follows the
// API server. Services themselves are objects like any other and come by configstore/kube. Only package controlplane imports it.
//
// Pods rather than EndpointSlices say where a Service with a selector is: it is the rule by which Kubernetes makes the slices, a pod counts as soon as it
// is ready, and the labels, the account and the place of an endpoint are its pod's.
package kube
