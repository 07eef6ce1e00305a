// Package dynatrace is Envoy's sampler for Dynatrace (envoy.tracers.opentelemetry.samplers.dynatrace): it has about as many traces begin
// in a minute as Dynatrace asks for, and has requests that are rare recorded as well as those that are frequent.
//
// A trace begins where no proxy or agent of the same Dynatrace environment has decided yet. Whether it is recorded depends on its id and
// on an exponent of the kind of request, which is its method and its path: one in 2^exponent is. The exponents come, once a minute, from
// how many requests of each kind there were in the last one; those that a worker counts are the most frequent (summary.go). What is
// decided goes on in an entry of tracestate (tag.go), which those behind keep to.
//
// It is pure: the clock, and the number that Dynatrace asks for, are those of export/otlp.
package dynatrace
