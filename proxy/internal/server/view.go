package server

import (
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// View is a picture of the configuration at one moment, for the admin API. Nothing in it
// changes any more.
type View struct {
	Started         time.Time
	ListenerVersion string
	ClusterVersion  string
	Listeners       []Record
	Clusters        []Record
	Routes          []Record       // from RDS, with what VHDS has added; inline ones stand in their listeners
	Scopes          []ScopesRecord // from SRDS; inline ones stand in their listeners
	Extensions      []Record       // from ECDS
	Endpoints       []Record
	Secrets         []SecretRecord
}

// SecretRecord is a secret that something waits for or uses.
type SecretRecord struct {
	Record
	// Source is the SDS cluster; "" for ADS.
	Source string
}

// View takes a picture. It fails only when the server has stopped.
func (s *Server) View() (v View, ok bool) {
	var routes []routeView
	ok = s.control.call(func() {
		v = View{
			Started:         s.started,
			ListenerVersion: s.listeners.version,
			ClusterVersion:  s.clusterSet.version,
			Listeners:       s.listeners.view(),
			Clusters:        s.clusterSet.records.sorted(),
			Scopes:          s.scopes.view(),
			Extensions:      s.extensions.records.sorted(),
			Endpoints:       s.endpoints.records.sorted(),
			Secrets:         s.secrets.view(),
		}
		routes = s.viewRoutes()
	})
	for _, r := range routes {
		v.Routes = append(v.Routes, r.merged())
	}
	return v, ok
}

// routeView is a route configuration with the virtual hosts that came apart.
type routeView struct {
	Record
	hosts []*anypb.Any
}

// viewRoutes lists them in order of name.
func (s *Server) viewRoutes() []routeView {
	out := make([]routeView, 0, len(s.routeRecords))
	for r, rec := range s.routeRecords {
		v := routeView{Record: *rec}
		if t := s.vhds.tables[r]; t != nil {
			v.hosts = t.view()
			if v.Error == nil {
				v.Error = t.refused
			}
			if t.updated.After(v.Updated) { // as in Envoy, the version is that of the last change
				v.Version, v.Updated = t.version, t.updated
			}
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b routeView) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// merged is the record with all virtual hosts in one message, as Envoy shows it.
func (v routeView) merged() Record {
	if len(v.hosts) == 0 || v.Raw == nil {
		return v.Record
	}
	var rc routev3.RouteConfiguration
	if v.Raw.UnmarshalTo(&rc) != nil {
		return v.Record
	}
	for _, raw := range v.hosts {
		vh := &routev3.VirtualHost{}
		if raw.UnmarshalTo(vh) == nil {
			rc.VirtualHosts = append(rc.VirtualHosts, vh)
		}
	}
	out := v.Record
	if raw, err := anypb.New(&rc); err == nil {
		out.Raw = raw
	}
	return out
}
