// Package rbac decides whether a request or a connection is allowed: Envoy's role-based access
// control, apart from the filters that ask it.
//
// New compiles the policies once; Decide is pure, allocates nothing and says which policy decided.
// Explain runs the same matchers and says for every policy whether it matches and, if not, what
// did not: for people who ask why.
//
// It answers nothing and counts nothing; HTTPScope and NetworkScope say where the filters count. The HTTP and the network filter of that name import it.
package rbac
