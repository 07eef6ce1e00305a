// Package config reads what users write: YAML or JSON documents of Istio's kinds and of the core
// Kubernetes kinds that a mesh needs, strictly, with file and line kept. Load turns files into a
// Set of validated Objects; the file store, the command line and (later) the webhook all call it,
// so that the same text is right or wrong everywhere, with the same message.
//
// It does not say what an object means for a proxy (controlplane does), it does not store objects,
// and it watches nothing. Messages about how objects fit together come from config/analyze.
//
// Control plane, command line and tools may import it; the data plane must not. An Object and a
// Set are immutable once they are returned; they may be shared freely.
package config
