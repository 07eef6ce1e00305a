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

// records keeps records of one type by name. The control loop owns it.
type records map[string]*Record

// accept notes a good version.
func (r records) accept(name, version string, raw *anypb.Any, static bool, state State) *Record {
	rec := &Record{Name: name, Static: static, State: state, Version: version, Updated: time.Now(), Raw: raw}
	r[name] = rec
	return rec
}

// refuse notes a bad version beside the good one, if there is any.
func (r records) refuse(name, version string, raw *anypb.Any, err error) {
	rec := r[name]
	if rec == nil {
		rec = &Record{Name: name, State: Warming}
		r[name] = rec
	} else {
		c := *rec // readers may hold the old one
		rec = &c
		r[name] = rec
	}
	rec.Error = &Refusal{Version: version, Time: time.Now(), Details: err.Error(), Raw: raw}
}

// state changes the state of a record.
func (r records) state(name string, s State) {
	if rec := r[name]; rec != nil && rec.State != s {
		c := *rec
		c.State = s
		r[name] = &c
	}
}

// sorted returns copies in order of name, so that two dumps of the same state are equal.
func (r records) sorted() []Record {
	out := make([]Record, 0, len(r))
	for _, rec := range r {
		out = append(out, *rec)
	}
	slices.SortFunc(out, func(a, b Record) int { return strings.Compare(a.Name, b.Name) })
	return out
}
