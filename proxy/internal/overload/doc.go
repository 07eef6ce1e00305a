// Package overload protects the process when a resource runs short (Envoy's overload manager):
// monitors measure how much of a resource is used, triggers turn that into the state of actions, and
// the path reads the states where it can shed load.
//
// A state is a number from 0 (inactive) to 1 (saturated), kept in one atomic word: workers load it,
// and only this package's goroutine stores it. The package measures and decides; what an action does
// is written where it is done (listener, hcm, server). server runs it, listener and hcm import it for
// State.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/operations/overload_manager/overload_manager
package overload
