package server

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
)

// ScopesRecord is what the admin API shows of a connection manager's scopes that come from SRDS. Name is that of scoped_routes.
type ScopesRecord struct {
	Record
	Scopes []*anypb.Any // in order of their names
}

// note keeps for the admin API what came of a response.
func (src *scopeSource) note(b xdsclient.Batch, errs map[string]error) {
	var refused []error
	for _, name := range slices.Sorted(maps.Keys(errs)) {
		refused = append(refused, errs[name])
	}
	for _, f := range b.Failed {
		refused = append(refused, f.Err)
	}
	now := time.Now()
	if len(refused) > 0 {
		src.record.Error = &Refusal{Version: b.Version, Time: now, Details: errors.Join(refused...).Error()}
		if len(refused) == len(b.Changed)+len(b.Failed) {
			return // none of it was taken
		}
	} else {
		src.record.Error = nil
	}
	src.record.Version, src.record.Updated = b.Version, now
}

// view lists the scopes of every connection manager that has spoken to its source.
func (sc *scopes) view() []ScopesRecord {
	var out []ScopesRecord
	for _, src := range sc.sources {
		for cfg := range src.users {
			r := ScopesRecord{Record: src.record}
			r.Name = cfg.Name
			for _, name := range slices.Sorted(maps.Keys(src.byName)) {
				if s := src.byName[name]; len(s.Key) == len(cfg.Key) {
					r.Scopes = append(r.Scopes, s.raw)
				}
			}
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b ScopesRecord) int { return strings.Compare(a.Name, b.Name) })
	return out
}
