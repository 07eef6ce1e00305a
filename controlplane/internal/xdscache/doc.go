// Package xdscache holds the encoded resources that proxies are served: each is built and serialised once, carries a version that is a
// hash of its content, and is shared by every proxy that needs the same bytes.
//
// resource.go is one resource, set.go what a proxy has of one type and how two such states differ, scope.go what proxies share at a version, and
// history.go how a version follows from the one before at the cost of what changed. It does not decide who gets what
// (translate) nor when (xdsserver). Packages of the control plane may import it.
package xdscache
