// Package watchdog notices loops that do not turn: a handler that computes for too long, or waits for what it must
// not wait for. It counts them under Envoy's names and, where the bootstrap asks for it, ends the process, whose
// traces then tell where each goroutine stood (config.bootstrap.v3.Watchdogs).
//
// An idle loop is not woken: it says itself that it waits. It knows nothing of what the loops do. server starts it.
package watchdog
