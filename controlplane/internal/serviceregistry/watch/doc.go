// Package watch follows a catalogue of services that answers blocking queries, as Consul's and Nomad's do, and gives what changed.
//
// A blocking query names the index of the last answer and is answered when there is a newer one, or when its wait is over. One query follows
// the list of services and one each service, so that the cost of a change is one small answer: query.go decides what the next query of one
// of them asks and when, without doing anything; watcher.go drives them, starts and ends them with the list, and gathers what they find.
// status.go is what people see: the state of the connection, what could not be read and why, and metrics.
//
// It knows neither Consul nor Nomad (they implement Catalog) and nothing of what is done with the services. While the catalogue is away, or
// answers what cannot be read, what was last read stays. The packages beside it and package controlplane import it.
package watch

import (
	"context"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Catalog reads a registry. Both calls block as Query says and end with ctx; they are called from many goroutines at once.
type Catalog interface {
	// List reads the names of all services, in any order.
	List(ctx context.Context, q Query) (List, error)
	// Service reads one of them.
	Service(ctx context.Context, name string, q Query) (Service, error)
}

// Query is a blocking query: answer when the index is beyond Index, or after Wait. With Index 0 the answer comes at once.
type Query struct {
	Index uint64
	Wait  time.Duration
}

// List is the answer with all names.
type List struct {
	Index uint64
	Names []string
	// Problems are names that cannot be services of a mesh, with the reason.
	Problems map[string]string
	// Warning is what is wrong with the whole answer, in words; "" for nothing.
	Warning string
}

// Service is the answer with one service.
type Service struct {
	Index uint64
	// Registration is nil when nothing is registered under the name that the mesh could call.
	Registration *model.Registration
	// Problems are parts of it that have no effect, in words.
	Problems []string
}

// Delta is what changed at once. The first may be empty.
type Delta struct {
	Changed []*model.Registration // by key of the service
	Removed []string              // keys of services, sorted
	Placed  []*model.Workload     // by key, new and changed
	Gone    []string              // keys of workloads, sorted
}
