// Package cel compiles expressions of the Common Expression Language with the functions that Envoy has, and prints their values
// as Envoy does (https://github.com/google/cel-spec; config.core.v3.CelExpressionConfig).
//
// The language itself is cel.dev/cel-go. What is ours is which of its functions there are, what bounds an expression and its
// values, and how a value is printed. The functions that Envoy has only where cel_config enables them, because what they make may be
// large, are always there, and bounded. An expression is compiled once; the environment of the language, which takes about 2 MB, is
// made with the first one.
//
// It knows no attributes: names are the business of whoever evaluates. The proxy evaluates, and what judges a user's objects compiles, so that
// an expression that no proxy would take is refused at the door.
package cel
