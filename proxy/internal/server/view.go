package server

import (
	"time"
)

// View is a picture of the configuration at one moment, for the admin API. Nothing in it
// changes any more.
type View struct {
	Started         time.Time
	ListenerVersion string
	ClusterVersion  string
	Listeners       []Record
	Clusters        []Record
	Routes          []Record // from RDS; inline ones stand in their listeners
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
	ok = s.control.call(func() {
		v = View{
			Started:         s.started,
			ListenerVersion: s.listeners.version,
			ClusterVersion:  s.clusterSet.version,
			Listeners:       s.listeners.view(),
			Clusters:        s.clusterSet.records.sorted(),
			Routes:          s.routeRecords.sorted(),
			Endpoints:       s.endpoints.records.sorted(),
			Secrets:         s.secrets.view(),
		}
	})
	return v, ok
}
