package server

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
)

// State says where in its life a resource is.
type State uint8

// States.
const (
	Active State = iota
	Warming
	Draining
)

// Record is what the admin API shows of a resource: the bytes that came, not what was made
// of them.
type Record struct {
	Name    string
	Static  bool // from the bootstrap
	State   State
	Version string
	Updated time.Time
	Raw     *anypb.Any
	// Error is the last refusal, with the version and bytes that were refused; nil after a
	// good update.
	Error *Refusal
}

// Refusal is a version of a resource that was not taken.
type Refusal struct {
	Version string
	Time    time.Time
	Details string
	Raw     *anypb.Any
}

// records keeps records of one type, by name, or by source and name where the same name may
// come from several. The control loop owns it.
type records[K comparable] map[K]*Record

func nameOf[K comparable](k K) string {
	if r, ok := any(k).(resource); ok {
		return r.name
	}
	return any(k).(string)
}

// accept notes a good version.
func (r records[K]) accept(key K, version string, raw *anypb.Any, static bool, state State) *Record {
	rec := &Record{Name: nameOf(key), Static: static, State: state, Version: version, Updated: time.Now(), Raw: raw}
	r[key] = rec
	return rec
}

// refuse notes a bad version beside the good one, if there is any.
func (r records[K]) refuse(key K, version string, raw *anypb.Any, err error) {
	rec := r[key]
	if rec == nil {
		rec = &Record{Name: nameOf(key), State: Warming}
		r[key] = rec
	} else {
		c := *rec // readers may hold the old one
		rec = &c
		r[key] = rec
	}
	rec.Error = &Refusal{Version: version, Time: time.Now(), Details: err.Error(), Raw: raw}
}

// state changes the state of a record.
func (r records[K]) state(key K, s State) {
	if rec := r[key]; rec != nil && rec.State != s {
		c := *rec
		c.State = s
		r[key] = &c
	}
}

// sorted returns copies in order of name, so that two dumps of the same state are equal.
func (r records[K]) sorted() []Record {
	out := make([]Record, 0, len(r))
	for _, rec := range r {
		out = append(out, *rec)
	}
	slices.SortFunc(out, func(a, b Record) int { return strings.Compare(a.Name, b.Name) })
	return out
}
