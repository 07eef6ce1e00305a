// Package nomad is a stand-in for a Nomad agent, in-process: the part of its HTTP API by which registered services and the results of their
// checks are read, written after Nomad's documentation and the behaviour of its state store.
//
// As in Nomad, every answer has the index of the whole table of services, a query wakes when what it asks for changed, and one that is
// behind the table is answered at once; checks are not in the table, have no index and wake nobody. Nomad's server cannot be had as a Go
// module, so nothing holds this against a real one. Tests of the control plane import it, nothing else does.
package nomad

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Registration is one registered service instance.
type Registration struct {
	ID, ServiceName, Namespace, NodeID, Datacenter, JobID, AllocID string
	Tags                                                           []string
	Address                                                        string
	Port                                                           int
	CreateIndex, ModifyIndex                                       uint64
}

// Check is the result of one check.
type Check struct {
	ID, Check, Group, Mode, Output, Service, Status, Task string
	StatusCode                                            int
	Timestamp                                             int64
}

// Server is a stand-in. Make one with New.
type Server struct {
	http *httptest.Server

	mu            sync.Mutex
	index         uint64
	registrations map[string]Registration // by ID
	changed       map[string]uint64       // by namespace/name: index of the last change
	listChanged   uint64
	checks        map[string]map[string]Check // by allocation, by ID
	checkReads    map[string]int              // by allocation
	news          chan struct{}
	down          bool
	token         string
}

// New starts a stand-in on a free port of loopback.
func New() *Server {
	s := &Server{
		index: 20, registrations: map[string]Registration{}, changed: map[string]uint64{}, checks: map[string]map[string]Check{},
		checkReads: map[string]int{}, news: make(chan struct{}),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/services", s.list)
	mux.HandleFunc("GET /v1/service/{name}", s.service)
	mux.HandleFunc("GET /v1/client/allocation/{id}/checks", s.allocationChecks)
	s.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		down, token := s.down, s.token
		s.mu.Unlock()
		switch {
		case down:
			http.Error(w, "No cluster leader", http.StatusInternalServerError)
		case token != "" && r.Header.Get("X-Nomad-Token") != token:
			http.Error(w, "Permission denied", http.StatusForbidden)
		default:
			mux.ServeHTTP(w, r)
		}
	}))
	return s
}

// Addr is the address, as a URL.
func (s *Server) Addr() string { return s.http.URL }

// Close ends the stand-in and every query.
func (s *Server) Close() {
	s.http.CloseClientConnections()
	s.http.Close()
}

func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.news)
	s.news = make(chan struct{})
}

// SetDown makes every request fail as without a leader, queries that wait included, or ends that.
func (s *Server) SetDown(down bool) { s.change(func() { s.down = down }) }

// SetToken makes a token required.
func (s *Server) SetToken(token string) { s.change(func() { s.token = token }) }

// Put registers or replaces an instance.
func (s *Server) Put(r Registration) {
	s.change(func() {
		s.index++
		r.CreateIndex, r.ModifyIndex = s.index, s.index
		if old, ok := s.registrations[r.ID]; ok {
			r.CreateIndex = old.CreateIndex
		}
		s.registrations[r.ID] = r
		s.changed[r.Namespace+"/"+r.ServiceName], s.listChanged = s.index, s.index
	})
}

// Remove takes an instance away.
func (s *Server) Remove(id string) {
	s.change(func() {
		r := s.registrations[id]
		delete(s.registrations, id)
		s.index++
		s.changed[r.Namespace+"/"+r.ServiceName], s.listChanged = s.index, s.index
	})
}

// SetCheck sets the result of a service's check in an allocation: "success", "failure" or "pending".
func (s *Server) SetCheck(alloc, service, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checks[alloc] == nil {
		s.checks[alloc] = map[string]Check{}
	}
	id := fmt.Sprintf("%x", service)
	s.checks[alloc][id] = Check{ID: id, Check: "alive", Group: "group[0]", Mode: "healthiness", Service: service, Status: status}
}

// CheckReads is how often an allocation's checks have been read.
func (s *Server) CheckReads(alloc string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checkReads[alloc]
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	ns := namespaceOf(r)
	s.block(w, r, func() (uint64, any) {
		type service struct {
			ServiceName string
			Tags        []string
		}
		type item struct {
			Namespace string
			Services  []service
		}
		byNamespace := map[string]map[string]map[string]bool{}
		for _, reg := range s.registrations {
			if ns != "*" && reg.Namespace != ns {
				continue
			}
			if byNamespace[reg.Namespace] == nil {
				byNamespace[reg.Namespace] = map[string]map[string]bool{}
			}
			if byNamespace[reg.Namespace][reg.ServiceName] == nil {
				byNamespace[reg.Namespace][reg.ServiceName] = map[string]bool{}
			}
			for _, t := range reg.Tags {
				byNamespace[reg.Namespace][reg.ServiceName][t] = true
			}
		}
		out := []item{}
		for _, name := range slices.Sorted(maps.Keys(byNamespace)) {
			it := item{Namespace: name}
			for _, svc := range slices.Sorted(maps.Keys(byNamespace[name])) {
				it.Services = append(it.Services, service{svc, slices.Sorted(maps.Keys(byNamespace[name][svc]))})
			}
			out = append(out, it)
		}
		return s.listChanged, out
	})
}

func (s *Server) service(w http.ResponseWriter, r *http.Request) {
	ns, name := namespaceOf(r), r.PathValue("name")
	s.block(w, r, func() (uint64, any) {
		out := []Registration{}
		for _, id := range slices.Sorted(maps.Keys(s.registrations)) {
			if reg := s.registrations[id]; reg.ServiceName == name && reg.Namespace == ns {
				out = append(out, reg)
			}
		}
		return s.changed[ns+"/"+name], out
	})
}

func (s *Server) allocationChecks(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	id := r.PathValue("id")
	known := slices.ContainsFunc(slices.Collect(maps.Values(s.registrations)), func(reg Registration) bool { return reg.AllocID == id })
	s.checkReads[id]++
	results := map[string]Check{}
	maps.Copy(results, s.checks[id])
	s.mu.Unlock()
	if !known {
		http.Error(w, "alloc not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(results) // a client that has gone is no error of ours
}

func namespaceOf(r *http.Request) string {
	if ns := r.URL.Query().Get("namespace"); ns != "" {
		return ns
	}
	return "default"
}

// block answers at once when the table is beyond the index asked with, else when what is asked for changed, or after the wait. read is called
// with the lock held and returns when that was.
func (s *Server) block(w http.ResponseWriter, r *http.Request, read func() (changed uint64, body any)) {
	after, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	wait, err := time.ParseDuration(strings.TrimSpace(r.URL.Query().Get("wait")))
	if err != nil {
		wait = 5 * time.Minute
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	for first, timeout := true, false; ; first = false {
		s.mu.Lock()
		changed, body := read()
		index, news, down := s.index, s.news, s.down
		var raw []byte
		if after == 0 || timeout || first && index > after || changed > after {
			raw, _ = json.Marshal(body) // plain structs
		}
		s.mu.Unlock()
		switch {
		case down:
			http.Error(w, "No cluster leader", http.StatusInternalServerError)
			return
		case raw != nil:
			w.Header().Set("X-Nomad-Index", strconv.FormatUint(index, 10))
			w.Header().Set("X-Nomad-KnownLeader", "true")
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
