package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"
)

// fleet is many proxies, each with a connection of its own.
type fleet struct {
	sotw    bool
	uses    int // how many services each asks for on demand; 0: everything
	proxies []*proxy
	conns   []*grpc.ClientConn
	names   interned
	read    sync.Map // what a resource refers to, by type, name and version

	mu  sync.Mutex
	err error
}

// newFleet prepares proxies of a server; open connects them.
func newFleet(addr string, n int, sotw bool, services, uses int) (*fleet, error) {
	f := &fleet{sotw: sotw, uses: min(uses, services)}
	for i := range n {
		conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)), grpc.WithReadBufferSize(64<<10),
			// As Envoy's, of a fixed size: the server is asked for no round trips to measure them.
			grpc.WithInitialWindowSize(16<<20), grpc.WithInitialConnWindowSize(24<<20))
		if err != nil {
			return nil, err
		}
		node, err := nodeOf(i, f.workloads(services), f.uses > 0)
		if err != nil {
			return nil, err
		}
		f.conns = append(f.conns, conn)
		p := &proxy{fleet: f, node: node, conn: conn, have: map[string]map[string]string{}}
		for k := range f.uses { // every service is used by as many proxies
			p.uses = append(p.uses, fmt.Sprintf("%d/%s", port, host((i+k*services/f.uses)%services)))
		}
		f.proxies = append(f.proxies, p)
	}
	return f, nil
}

// workloads is how many Deployments the proxies belong to: replicas of one use the same services.
func (f *fleet) workloads(services int) int {
	if f.uses == 0 {
		return 1
	}
	return max(1, services/f.uses)
}

// nodeOf is the node of a sidecar, of one of so many workloads, as Istio's agent writes it; with onDemand, as Lateen's does.
func nodeOf(i, workloads int, onDemand bool) (*corepb.Node, error) {
	ip, name := fmt.Sprintf("10.200.%d.%d", i/250, 1+i%250), fmt.Sprintf("client-%d", i)
	values := map[string]any{
		"NAME": name, "NAMESPACE": "default", "CLUSTER_ID": "Kubernetes", "MESH_ID": "cluster.local", "ISTIO_VERSION": "1.32.0",
		"INSTANCE_IPS": ip, "SERVICE_ACCOUNT": "default", "WORKLOAD_NAME": fmt.Sprintf("client-%d", i%workloads), "INTERCEPTION_MODE": "REDIRECT",
		"LABELS": map[string]any{"app": "client", "version": "v1"},
	}
	if onDemand {
		values["LATEEN_ON_DEMAND"] = "true"
	}
	meta, err := structpb.NewStruct(values)
	if err != nil {
		return nil, err
	}
	return &corepb.Node{
		Id: fmt.Sprintf("sidecar~%s~%s.default~default.svc.cluster.local", ip, name), Cluster: "client.default", Metadata: meta,
		UserAgentName: "envoy",
	}, nil
}

func (f *fleet) open(ctx context.Context) {
	for _, p := range f.proxies {
		p.open(ctx)
	}
}

// drop ends all streams, and the connections stay.
func (f *fleet) drop() {
	for _, p := range f.proxies {
		p.cancel()
	}
	for _, p := range f.proxies {
		<-p.ended
	}
}

func (f *fleet) close() {
	f.drop()
	for _, c := range f.conns {
		c.Close()
	}
}

func (f *fleet) intern(s string) string { return f.names.of(s) }

// refs returns the names of what a resource refers to: a cluster's endpoints, a listener's routes.
func (f *fleet) refs(typeURL string, r resource) ([]string, error) {
	key := typeURL + r.name + "\x00" + r.version
	if r.version != "" {
		if names, ok := f.read.Load(key); ok {
			return names.([]string), nil
		}
	}
	var names []string
	switch typeURL {
	case clusterType:
		if name := endpointsOf(r.name, r.body); name != "" {
			names = []string{f.intern(name)}
		}
	case listenerType:
		var err error
		if names, err = routesOf(r.body); err != nil {
			return nil, fmt.Errorf("listener %s: %w", r.name, err)
		}
	}
	if r.version != "" {
		f.read.Store(key, names)
	}
	return names, nil
}

func (f *fleet) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *fleet) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// totals are what has been received up to now.
func (f *fleet) totals() (bytes, messages int64) {
	for _, p := range f.proxies {
		bytes += p.bytes.Load()
		messages += p.messages.Load()
	}
	return bytes, messages
}

// arrivals are when proxies had their last message, of those that had one since begin, in order.
func (f *fleet) arrivals(begin time.Time) []time.Duration {
	var out []time.Duration
	for _, p := range f.proxies {
		if at := p.last.Load(); at > begin.UnixNano() {
			out = append(out, time.Unix(0, at).Sub(begin))
		}
	}
	slices.Sort(out)
	return out
}

// synced says that each proxy has had its routes.
func (f *fleet) synced() bool {
	for _, p := range f.proxies {
		if !p.synced.Load() {
			return false
		}
	}
	return true
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

var errSlow = errors.New("the proxies were not quiet in time")
