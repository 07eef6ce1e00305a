package differential

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	// What a subject may publish.
	_ "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

// published is a resource of a management server, or one that it takes back.
type published struct {
	Name     string          `json:"name"`
	Resource json.RawMessage `json:"resource"` // with its "@type"
	Aliases  []string        `json:"aliases"`
	Gone     string          `json:"gone"` // the type of what is taken back, instead of Resource
}

// management is the origin "xds": a management server over delta ADS. Each proxy of a subject has its own, with the same resources.
type management struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	srv  *grpc.Server
	done sync.WaitGroup

	mu        sync.Mutex
	nonce     int
	version   int                                         // counts publications
	resources map[string]map[string]*discoveryv3.Resource // by type and name
	streams   map[*managed]bool
	pending   map[string]bool // nonces that were not answered yet
	answered  chan struct{}   // of capacity 1: some were
}

// managed is one stream. Its fields are under the server's mu.
type managed struct {
	out   chan *discoveryv3.DeltaDiscoveryResponse
	all   map[string]bool            // types of which everything is wanted
	wants map[string]map[string]bool // names by type
}

func startManagement(addr string, first []published) (*management, error) {
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	m := &management{srv: grpc.NewServer(), resources: map[string]map[string]*discoveryv3.Resource{}, streams: map[*managed]bool{},
		pending: map[string]bool{}, answered: make(chan struct{}, 1)}
	if err := m.publish(first); err != nil {
		lis.Close()
		return nil, err
	}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(m.srv, m)
	m.done.Go(func() { _ = m.srv.Serve(lis) })
	return m, nil
}

func (m *management) stop() {
	m.srv.Stop()
	m.done.Wait()
}

// publish changes resources and sends them to those who want them.
func (m *management) publish(list []published) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed, gone := map[string][]string{}, map[string][]string{}
	m.version++
	for _, p := range list {
		if p.Gone != "" {
			url := "type.googleapis.com/" + p.Gone
			delete(m.resources[url], p.Name)
			gone[url] = append(gone[url], p.Name)
			continue
		}
		raw := &anypb.Any{}
		if err := protojson.Unmarshal(p.Resource, raw); err != nil {
			return fmt.Errorf("resource %q: %w", p.Name, err)
		}
		if m.resources[raw.TypeUrl] == nil {
			m.resources[raw.TypeUrl] = map[string]*discoveryv3.Resource{}
		}
		m.resources[raw.TypeUrl][p.Name] = &discoveryv3.Resource{Name: p.Name, Aliases: p.Aliases, Version: strconv.Itoa(m.version), Resource: raw}
		changed[raw.TypeUrl] = append(changed[raw.TypeUrl], p.Name)
	}
	for s := range m.streams {
		for url := range s.wants {
			wanted := func(name string) bool { return !s.all[url] && !s.wants[url][name] }
			m.send(s, url, slices.DeleteFunc(slices.Clone(changed[url]), wanted), slices.DeleteFunc(slices.Clone(gone[url]), wanted))
		}
	}
	return nil
}

// send gives a stream what has changed of a type. The caller holds mu.
func (m *management) send(s *managed, url string, names, removed []string) {
	if len(names)+len(removed) == 0 {
		return
	}
	m.nonce++
	r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: url, Nonce: strconv.Itoa(m.nonce), SystemVersionInfo: strconv.Itoa(m.version), RemovedResources: removed}
	for _, n := range names {
		r.Resources = append(r.Resources, m.resources[url][n])
	}
	m.pending[r.Nonce] = true
	s.out <- r
}

// settle waits until everything that was sent is acknowledged or refused.
func (m *management) settle(ctx context.Context) error {
	for {
		m.mu.Lock()
		left := len(m.pending)
		m.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-m.answered:
		case <-ctx.Done():
			return fmt.Errorf("%d responses of the management server were not answered", left)
		}
	}
}

// DeltaAggregatedResources implements discoveryv3.AggregatedDiscoveryServiceServer.
func (m *management) DeltaAggregatedResources(st discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	s := &managed{out: make(chan *discoveryv3.DeltaDiscoveryResponse, 64), all: map[string]bool{}, wants: map[string]map[string]bool{}}
	m.mu.Lock()
	m.streams[s] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.streams, s)
	}()
	go func() {
		for {
			r, err := st.Recv()
			if err != nil {
				return
			}
			m.request(s, r)
		}
	}()
	for {
		select {
		case <-st.Context().Done():
			return nil
		case r := <-s.out:
			if err := st.Send(r); err != nil {
				return err
			}
		}
	}
}

func (m *management) request(s *managed, r *discoveryv3.DeltaDiscoveryRequest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := r.GetResponseNonce(); n != "" {
		delete(m.pending, n)
		select {
		case m.answered <- struct{}{}:
		default:
		}
	}
	url := r.GetTypeUrl()
	first := s.wants[url] == nil
	if first {
		s.wants[url] = map[string]bool{}
		s.all[url] = len(r.GetResourceNamesSubscribe()) == 0
	}
	for _, n := range r.GetResourceNamesUnsubscribe() {
		delete(s.wants[url], n)
	}
	var there, missing []string
	for _, n := range r.GetResourceNamesSubscribe() {
		if n == "*" {
			s.all[url], first = true, true
			continue
		}
		s.wants[url][n] = true
		switch {
		case m.resources[url][n] != nil:
			there = append(there, n)
		case url == "type.googleapis.com/envoy.config.route.v3.VirtualHost":
			// As VHDS says that there is none: a resource without content. https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds
			s.out <- &discoveryv3.DeltaDiscoveryResponse{TypeUrl: url, Nonce: "none", SystemVersionInfo: strconv.Itoa(m.version), Resources: []*discoveryv3.Resource{{Name: n, Aliases: []string{n}}}}
		case url == "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig":
			// No answer: Envoy would wait for ever behind one that it is gone.
		default:
			missing = append(missing, n)
		}
	}
	if s.all[url] && first {
		there = slices.Sorted(maps.Keys(m.resources[url]))
	}
	m.send(s, url, there, missing)
}

// publishAll changes what both sides' servers have, and waits until both proxies have answered.
func publishAll(sides [2]*side, list []published) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, s := range sides {
		if s.management == nil {
			return fmt.Errorf("there is no management server: no cluster leads to the origin xds")
		}
		if err := s.management.publish(list); err != nil {
			return err
		}
	}
	for _, s := range sides {
		if err := s.management.settle(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}
