// Package cel evaluates expressions of the Common Expression Language on streams, with the
// attributes and the functions that Envoy gives them
// (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes).
//
// The language itself is cel.dev/cel-go. What is ours is which of its functions there are, what bounds
// an expression and its values, what the attributes are, and how a value is printed. An expression is
// compiled once; attributes are looked up when an evaluation comes to them. The environment of the
// language, which takes about 2 MB, is made with the first expression.
//
// An expression that Envoy would not take is refused when it is compiled; one that meets a missing attribute
// or values that do not fit each other has no value.
//
// It decides nothing about what is done with a value. Any package of the path may import it; it reads no
// configuration protos.
package cel
