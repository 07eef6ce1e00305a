// Package kube is the config store that reads users' objects from an API server of Kubernetes.
//
// The flow: CustomResourceDefinitions say which of Istio's kinds and the Gateway API's the server has, and in which version (served.go); those and the core kinds
// that a mesh needs are followed, and what comes is validated, the last good form of an object staying when it turns bad (store.go, objects.go); the
// difference is delivered as one Batch. The ConfigMap istio in istio-system is the mesh configuration.
//
// It validates through package config and judges nothing itself. It writes nothing. Only package controlplane imports it.
package kube
