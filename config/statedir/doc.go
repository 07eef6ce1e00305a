// Package statedir keeps users' objects as files below a state directory: one file for each object
// that was applied, config/<namespace>/<kind>/<name>.yaml, beside files that people made by hand.
//
// It reads and writes; it does not watch (the control plane's file store does) and holds nothing
// in memory. Writers are kept apart by a lock on the config folder, each file is replaced by a
// rename, and a change that fails half-way is taken back. The command line and the demo import it.
package statedir
