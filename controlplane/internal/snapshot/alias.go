package snapshot

import (
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// indexAliases keeps ExternalName services by the host that they stand for, and marks those
// whose host is a service now and was none, or the reverse: as long as it is one they have no
// clusters and listeners of their own.
func (b *Builder) indexAliases(s *model.Snapshot, diffs []diff[model.Service], ch *model.Change) {
	touched := map[string]map[string]*model.Service{} // host to alias's key to new value (nil: gone)
	for _, d := range diffs {
		if d.old != nil && d.old.Alias != "" {
			at(touched, d.old.Alias)[d.key] = nil
		}
		if d.new != nil && d.new.Alias != "" {
			at(touched, d.new.Alias)[d.key] = d.new
		}
	}
	var edits []model.Edit[[]*model.Service]
	for host, changed := range touched {
		prev, _ := s.Aliases.Get(host)
		var next []*model.Service
		for _, svc := range prev {
			if _, ok := changed[svc.Key()]; !ok {
				next = append(next, svc)
			}
		}
		for _, svc := range changed {
			if svc != nil {
				next = append(next, svc)
			}
		}
		slices.SortFunc(next, func(a, c *model.Service) int { return strings.Compare(a.Key(), c.Key()) })
		edits = append(edits, model.Edit[[]*model.Service]{Key: host, Value: next, Delete: len(next) == 0})
		mark(&ch.Hosts, host) // it is called by other names now
	}
	s.Aliases = s.Aliases.Apply(edits)
	for _, d := range diffs {
		if endpointsOnly(d) {
			continue
		}
		aliases, _ := s.Aliases.Get(hostOf(d.key))
		for _, svc := range aliases {
			mark(&ch.Hosts, svc.Host)
			mark(&ch.ListenerHosts, svc.Host)
		}
	}
}
