package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Types in the order in which Envoy subscribes to them.
const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	hostType     = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
	routeType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

// proxy is one proxy's stream and what it holds. It subscribes in Envoy's order: all clusters, then their endpoints, then all listeners,
// then the routes that they name, then the virtual hosts that it uses if it asks on demand.
type proxy struct {
	fleet *fleet
	node  *corepb.Node
	conn  *grpc.ClientConn
	uses  []string // virtual hosts that it asks for by name; none: it is sent all

	cancel context.CancelFunc
	ended  chan struct{}

	// Of the receiving goroutine:
	stream grpc.ClientStream
	have   map[string]map[string]string // by type and name: version
	wanted map[string]map[string]bool   // by type: names that are subscribed to

	bytes, messages atomic.Int64
	last            atomic.Int64 // when the last message came, Unix nanoseconds
	synced          atomic.Bool
}

// open starts the stream anew; what the proxy holds stays, and is told to the server.
func (p *proxy) open(ctx context.Context) {
	ctx, p.cancel = context.WithCancel(ctx)
	p.ended = make(chan struct{})
	p.synced.Store(false)
	go func() {
		defer close(p.ended)
		err := p.run(ctx)
		if ctx.Err() == nil {
			p.fleet.fail(fmt.Errorf("proxy %s: %w", p.node.GetId(), err))
		}
	}()
}

// run lasts until the stream ends.
func (p *proxy) run(ctx context.Context) error {
	method := "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
	if p.fleet.sotw {
		method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
	}
	var err error
	p.stream, err = p.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.ForceCodec(raw{}))
	if err != nil {
		return err
	}
	if err := p.begin(); err != nil {
		return err
	}
	for {
		var b []byte
		if err := p.stream.RecvMsg(&b); err != nil {
			return err
		}
		p.bytes.Add(int64(len(b)))
		p.messages.Add(1)
		if err := p.take(b); err != nil {
			return err
		}
		p.last.Store(time.Now().UnixNano())
	}
}

// begin asks for clusters; a proxy that was here before asks for all that it has at once, as Envoy does.
func (p *proxy) begin() error {
	before := p.wanted
	p.wanted = map[string]map[string]bool{}
	if err := p.subscribe(clusterType, nil, p.node); err != nil || before == nil {
		return err
	}
	for _, typeURL := range []string{endpointType, listenerType, routeType} {
		if err := p.subscribe(typeURL, slices.Sorted(maps.Keys(before[typeURL])), nil); err != nil {
			return err
		}
	}
	if len(p.uses) > 0 {
		if err := p.subscribe(hostType, append([]string{"*"}, p.uses...), nil); err != nil {
			return err
		}
	}
	p.synced.Store(true)
	return nil
}

// take reads a response, acknowledges it and subscribes to what follows from it.
func (p *proxy) take(b []byte) error {
	read := readDelta
	if p.fleet.sotw {
		read = readSotW
	}
	r, err := read(b)
	if err != nil {
		return err
	}
	have := p.have[r.typeURL]
	if have == nil {
		have = map[string]string{}
		p.have[r.typeURL] = have
	}
	if p.fleet.sotw && (r.typeURL == clusterType || r.typeURL == listenerType) {
		clear(have)
	}
	for _, x := range r.resources {
		have[p.fleet.intern(x.name)] = p.fleet.intern(x.version)
	}
	for _, name := range r.removed {
		delete(have, name)
	}
	if err := p.acknowledge(r); err != nil {
		return err
	}
	switch r.typeURL {
	case clusterType:
		if err := p.follow(endpointType, r); err != nil {
			return err
		}
		if p.wanted[endpointType] == nil && p.wanted[listenerType] == nil {
			return p.subscribe(listenerType, nil, nil)
		}
	case endpointType:
		if p.wanted[listenerType] == nil {
			return p.subscribe(listenerType, nil, nil)
		}
	case listenerType:
		return p.follow(routeType, r)
	case routeType:
		if len(p.uses) == 0 {
			p.synced.Store(true)
		} else if p.wanted[hostType] == nil {
			return p.subscribe(hostType, nil, nil)
		}
	case hostType:
		if len(p.wanted[hostType]) == 0 {
			return p.subscribe(hostType, p.uses, nil)
		}
		p.synced.Store(!slices.ContainsFunc(p.uses, func(host string) bool { return have[host] == "" }))
	}
	return nil
}

// follow subscribes to what resources refer to.
func (p *proxy) follow(typeURL string, r reply) error {
	fresh := map[string]bool{}
	for _, x := range r.resources {
		names, err := p.fleet.refs(r.typeURL, x)
		if err != nil {
			return err
		}
		for _, name := range names {
			if !p.wanted[typeURL][name] {
				fresh[name] = true
			}
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	return p.subscribe(typeURL, slices.Sorted(maps.Keys(fresh)), nil)
}

// subscribe asks for names in addition; none: for everything.
func (p *proxy) subscribe(typeURL string, names []string, node *corepb.Node) error {
	initial := map[string]string{}
	if p.wanted[typeURL] == nil {
		p.wanted[typeURL] = map[string]bool{}
		initial = p.have[typeURL]
	}
	for _, name := range names {
		p.wanted[typeURL][name] = true
	}
	if p.fleet.sotw {
		return p.send(&discoverypb.DiscoveryRequest{Node: node, TypeUrl: typeURL, ResourceNames: slices.Sorted(maps.Keys(p.wanted[typeURL]))})
	}
	return p.send(&discoverypb.DeltaDiscoveryRequest{Node: node, TypeUrl: typeURL, ResourceNamesSubscribe: names, InitialResourceVersions: initial})
}

func (p *proxy) acknowledge(r reply) error {
	if p.fleet.sotw {
		return p.send(&discoverypb.DiscoveryRequest{
			TypeUrl: r.typeURL, ResponseNonce: r.nonce, VersionInfo: r.version, ResourceNames: slices.Sorted(maps.Keys(p.wanted[r.typeURL])),
		})
	}
	return p.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: r.typeURL, ResponseNonce: r.nonce})
}

func (p *proxy) send(m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return p.stream.SendMsg(&b)
}

// raw is a gRPC codec of messages that are bytes already.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }

func (raw) Name() string { return "proto" }

// interned are strings that many proxies hold.
type interned struct{ m sync.Map }

func (i *interned) of(s string) string {
	v, _ := i.m.LoadOrStore(s, s)
	return v.(string)
}
