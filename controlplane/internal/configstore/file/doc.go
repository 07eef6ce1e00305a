// Package file is the config store that keeps objects in a directory tree of YAML files.
//
// The flow: the file system tells that something changed, or the rescan's turn has come (watch.go); the files that it named are looked
// at, or the whole tree where it named a folder or nothing, and those that differ are parsed (scan.go); what the files hold is merged with what was there, and an object that turned bad keeps its last good form while
// others go on (merge.go); the difference is delivered as one Batch (store.go).
//
// It validates through package config and judges nothing itself. It writes no file: `lateen apply` and editors do. Package controlplane and
// serviceregistry/local import it.
package file
