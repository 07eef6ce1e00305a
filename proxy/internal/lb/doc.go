// Package lb chooses one of several hosts: Envoy's balancing algorithms over plain numbers.
//
// A balancer sees hosts as a slice of *Load (how many requests are active, what weight) and
// answers with an index. Each worker has balancers of its own, so none locks; randomness
// comes in with the call, so each can be tested against a model. Ring and Maglev tables are
// immutable and shared by the workers.
//
// It knows nothing of health, priorities and localities: those are the cluster package's,
// which is also the only importer besides callers that fill a Context.
package lb
