// Package consul is a stand-in for a Consul agent, in-process: the part of its HTTP API by which services are registered and followed, with
// Consul's behaviour in what a client can see of it: blocking queries, an index for each service and one for the list, ACL answers.
//
// It keeps no quorum and runs no checks; their status is set as by a TTL check. What it does is held against a real Consul by
// test/registries, which runs the same scenarios on both. Tests of the control plane import it, nothing else does.
package consul

import (
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
)

// Server is a stand-in. Make one with New.
type Server struct {
	mu       sync.Mutex
	index    uint64
	listAt   uint64 // index of the last change of what the list shows
	services map[string]*service
	news     chan struct{} // closed and made anew with every change
	down     bool
	token    string

	queries atomic.Int64
	waiting atomic.Int64
	http    *httptest.Server
}

// service is the instances of one name; it stays when it is empty, for its index.
type service struct {
	at        uint64
	instances map[string]*api.ServiceEntry
}

// New starts a stand-in on a free port of loopback.
func New() *Server {
	s, err := NewAt("127.0.0.1:0")
	if err != nil {
		panic("stand-in for Consul: " + err.Error()) // as httptest does
	}
	return s
}

// NewAt starts a stand-in at an address.
func NewAt(addr string) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{index: 10, listAt: 10, services: map[string]*service{}, news: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/catalog/services", s.catalog)
	mux.HandleFunc("GET /v1/health/service/{name}", s.health)
	mux.HandleFunc("PUT /v1/agent/service/register", s.register)
	mux.HandleFunc("PUT /v1/agent/service/deregister/{id}", s.deregister)
	mux.HandleFunc("PUT /v1/agent/check/update/{id}", s.update)
	s.http = &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		down, token := s.down, s.token
		s.mu.Unlock()
		switch {
		case down:
			http.Error(w, "No cluster leader", http.StatusInternalServerError)
		case token != "" && r.Header.Get("X-Consul-Token") != token:
			http.Error(w, "ACL not found", http.StatusForbidden)
		default:
			s.queries.Add(1)
			mux.ServeHTTP(w, r)
		}
	})}}
	s.http.Start()
	return s, nil
}

// Addr is the address, host:port.
func (s *Server) Addr() string { return s.http.Listener.Addr().String() }

// Close ends the stand-in and every query.
func (s *Server) Close() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// Queries is how many requests have come that were not refused; Waiting how many queries wait now.
func (s *Server) Queries() int64 { return s.queries.Load() }
func (s *Server) Waiting() int64 { return s.waiting.Load() }

// SetDown makes every request fail as without a leader, queries that wait included, or ends that.
func (s *Server) SetDown(down bool) { s.change(func() { s.down = down }) }

// SetToken makes a token required.
func (s *Server) SetToken(token string) { s.change(func() { s.token = token }) }

// Forget drops everything and begins with a low index, as a server that lost its data.
func (s *Server) Forget() {
	s.change(func() { s.services, s.index, s.listAt = map[string]*service{}, 3, 3 })
	s.http.CloseClientConnections()
}

func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.news)
	s.news = make(chan struct{})
}

// Put registers or replaces an instance.
func (s *Server) Put(e *api.ServiceEntry) {
	s.change(func() {
		s.index++
		sv := s.services[e.Service.Service]
		if sv == nil {
			sv = &service{instances: map[string]*api.ServiceEntry{}}
			s.services[e.Service.Service] = sv
		}
		id := e.Node.Node + "/" + e.Service.ID
		if old := sv.instances[id]; old == nil || !slices.Equal(old.Service.Tags, e.Service.Tags) {
			s.listAt = s.index
		}
		sv.instances[id], sv.at = e, s.index
	})
}

// Delete takes an instance of any node away and reports whether there was one.
func (s *Server) Delete(name, id string) (found bool) {
	s.change(func() {
		sv := s.services[name]
		if sv == nil {
			return
		}
		for key, e := range sv.instances {
			if e.Service.ID == id {
				delete(sv.instances, key)
				s.index++
				sv.at, s.listAt, found = s.index, s.index, true
			}
		}
	})
	return found
}

func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	var in api.AgentServiceRegistration
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if in.ID == "" {
		in.ID = in.Name
	}
	e := &api.ServiceEntry{
		Node: &api.Node{Node: "standin", Address: "127.0.0.1", Datacenter: "dc1"},
		Service: &api.AgentService{
			Kind: in.Kind, ID: in.ID, Service: in.Name, Tags: in.Tags, Port: in.Port, Ports: in.Ports, Address: in.Address, SocketPath: in.SocketPath,
			Meta: in.Meta, TaggedAddresses: in.TaggedAddresses, Weights: api.AgentWeights{Passing: 1, Warning: 1}, Locality: in.Locality,
		},
		Checks: api.HealthChecks{{Node: "standin", CheckID: "serfHealth", Name: "Serf Health Status", Status: api.HealthPassing}},
	}
	if in.Weights != nil {
		e.Service.Weights = *in.Weights
	}
	if in.Check != nil {
		status := in.Check.Status
		if status == "" {
			status = api.HealthCritical // until the first update, as in Consul
		}
		e.Checks = append(e.Checks, &api.HealthCheck{
			Node: "standin", CheckID: "service:" + in.ID, Name: "Service '" + in.Name + "' check", Status: status, ServiceID: in.ID, ServiceName: in.Name,
		})
	}
	s.Put(e)
}

func (s *Server) deregister(w http.ResponseWriter, r *http.Request) {
	id, found := "standin/"+r.PathValue("id"), false
	s.change(func() {
		for _, sv := range s.services {
			if sv.instances[id] == nil {
				continue
			}
			delete(sv.instances, id)
			s.index++
			sv.at, s.listAt, found = s.index, s.index, true
		}
	})
	if !found {
		http.Error(w, "Unknown service ID", http.StatusNotFound)
	}
}

func (s *Server) update(w http.ResponseWriter, r *http.Request) {
	var in struct{ Status string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	found := false
	s.change(func() {
		for _, sv := range s.services {
			for id, e := range sv.instances {
				i := slices.IndexFunc(e.Checks, func(c *api.HealthCheck) bool { return c.CheckID == r.PathValue("id") })
				if i < 0 {
					continue
				}
				found = true
				next, check := *e, *e.Checks[i]
				check.Status = in.Status
				next.Checks = slices.Clone(e.Checks)
				next.Checks[i] = &check
				s.index++
				sv.instances[id], sv.at = &next, s.index
			}
		}
	})
	if !found {
		http.Error(w, "Unknown check", http.StatusNotFound)
	}
}

func (s *Server) catalog(w http.ResponseWriter, r *http.Request) {
	s.block(w, r, func() (uint64, any) {
		out := map[string][]string{}
		for name, sv := range s.services {
			if len(sv.instances) == 0 {
				continue
			}
			tags := map[string]bool{}
			for _, e := range sv.instances {
				for _, t := range e.Service.Tags {
					tags[t] = true
				}
			}
			out[name] = append([]string{}, slices.Sorted(maps.Keys(tags))...)
		}
		return s.listAt, out
	})
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	s.block(w, r, func() (uint64, any) {
		sv := s.services[name]
		if sv == nil {
			return s.listAt, []*api.ServiceEntry{}
		}
		out := []*api.ServiceEntry{}
		for _, id := range slices.Sorted(maps.Keys(sv.instances)) {
			out = append(out, sv.instances[id])
		}
		return sv.at, out
	})
}

// block answers when the index is beyond the one asked with, or after the wait. read is called with the lock held.
func (s *Server) block(w http.ResponseWriter, r *http.Request, read func() (uint64, any)) {
	after, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil {
		wait = 5 * time.Minute
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	for timeout := false; ; {
		s.mu.Lock()
		index, body := read()
		news, down := s.news, s.down
		var raw []byte
		if down || after == 0 || index > after || timeout {
			raw, _ = json.Marshal(body) // plain structs
		}
		s.mu.Unlock()
		switch {
		case down:
			http.Error(w, "No cluster leader", http.StatusInternalServerError)
			return
		case raw != nil:
			w.Header().Set("X-Consul-Index", strconv.FormatUint(index, 10))
			w.Header().Set("X-Consul-KnownLeader", "true")
			w.Header().Set("X-Consul-LastContact", "0")
			w.Header().Set("Content-Type", "application/json")
			w.Write(raw) // a client that has gone is no error of ours
			return
		}
		select {
		case <-news:
		case <-over.C:
			timeout = true
		case <-r.Context().Done():
			return
		}
	}
}
