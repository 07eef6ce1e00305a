// Package configstore says what stores of users' objects have in common: the batches that they deliver and the state that they are in.
//
// The stores are in the folders beside it: file reads a directory tree of YAML, kube an API server of Kubernetes. It does nothing itself.
package configstore

import (
	"strings"

	"github.com/lateen-mesh/lateen/config"
)

// Batch is what changed at once.
type Batch struct {
	// Number counts the batches of a store that say something, from 1.
	Number  uint64
	Changed []*config.Object // by key
	Deleted []config.Key     // by key
	// Mesh is the mesh configuration's file when it changed and is valid; its Data is empty when the file is gone.
	Mesh *config.File
}

// Empty says that nothing changed.
func (b *Batch) Empty() bool { return len(b.Changed)+len(b.Deleted) == 0 && b.Mesh == nil }

// Mistake is something wrong in what a store reads now.
type Mistake struct {
	config.Problem
	// Kept says that an earlier, good form of the object is in force.
	Kept bool
}

// State is what a store holds at one moment. It must not be modified.
type State struct {
	// Number is that of the batch with which it came about, 0 when there was none yet.
	Number  uint64
	Objects map[config.Key]*config.Object
	// MeshVersion is the version of the mesh configuration in force, in the form of objects' ResourceVersion; "" for none.
	MeshVersion string
}

// CompareKeys orders keys as batches have them.
func CompareKeys(a, b config.Key) int { return strings.Compare(a.String(), b.String()) }
