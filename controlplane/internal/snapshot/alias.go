package snapshot

import (
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
	for host := range touched {
		mark(&ch.Hosts, host) // it is called by other names now
	}
	s.Aliases = regroup(s.Aliases, touched)
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
