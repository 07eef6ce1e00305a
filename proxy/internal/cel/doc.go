// Package cel evaluates expressions (pkg/cel) on streams: it has the attributes of Envoy
// (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes), which are looked up when an evaluation
// comes to them.
//
// It decides nothing about what is done with a value. Any package of the path may import it; it reads no
// configuration protos.
package cel
