// Package server turns configuration into live objects and keeps them current: clusters, endpoints, routes, secrets and listeners.
//
// Everything happens on one goroutine, the control loop (control.go): what xDS delivers, what becomes warm, what is asked by the admin
// API. The order of a change is always: build all of it, warm it (a cluster waits for its endpoints, a listener for its routes and
// secrets), swap it in with one atomic store or one hand-over to the workers, drain what it replaced. What cannot be built is refused by
// name and the last good version stays.
//
// The one list of filters is filters.go. The package parses no protos of resources (xdsresource does) and carries no traffic. Only proxy
// imports it; admin sees it through an interface of its own.
package server
