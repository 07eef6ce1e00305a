// Package route decides where a request goes: xdsresource.RouteConfig compiled to a Table,
// a request to an Entry. Matching allocates nothing, whatever the outcome.
//
// The same code answers "which" and "why": Match runs it for the live path, Explain runs it
// and writes down for every route whether and why it did or did not match, with the origin
// that the control plane put into the route's metadata. What is explained is what runs.
//
// In the order of a request: host.go finds the virtual host, tree.go the routes that its matcher
// leads to, where it has one, matcher.go tries them in order, entry.go holds what was compiled for the chosen one and picks among weighted
// clusters, rewrite.go and redirect.go compute new paths, hosts and locations, headerops.go
// changes headers.
//
// It is pure: no clock, no randomness but the number in the Request, no I/O. It does not
// retry, time out or choose hosts. The connection manager and the router use it; server
// compiles tables.
package route
