// Package xdstest is an ADS client for tests that subscribes as Envoy does: clusters, then their endpoints, then listeners, then the routes
// and secrets that they name; it acknowledges everything, or refuses what a test tells it to, and keeps what it was given.
//
// It checks nothing by itself; tests give it a Check that sees the state after each response. Only tests import it.
package xdstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	clusterpb "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerpb "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmpb "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlspb "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
)

// Types in the order in which Envoy subscribes to them.
const (
	CDS  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EDS  = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	LDS  = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RDS  = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	VHDS = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
	SDS  = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// State is what a client has: by type, by name. Tests must not change it.
type State map[string]map[string]*anypb.Any

// Names returns what there is of a type, sorted.
func (s State) Names(typeURL string) []string { return slices.Sorted(maps.Keys(s[typeURL])) }

// Text is the whole state as text: equal text is equal state.
func (s State) Text() string {
	out := ""
	for _, t := range slices.Sorted(maps.Keys(s)) {
		for _, n := range s.Names(t) {
			out += fmt.Sprintf("%s %s %x\n", t, n, s[t][n].GetValue())
		}
	}
	return out
}

// Options say how a client behaves. Node is required.
type Options struct {
	Node *corepb.Node
	// SotW selects the state-of-the-world variant; delta otherwise.
	SotW bool
	// Follow is what is subscribed to of each type, given the state; nil names mean everything. Default: as Envoy.
	Follow func(s State) map[string][]string
	// Check sees the state after each response was taken; an error ends the client.
	Check func(s State, typeURL string) error
	// Refuse returns why a response is refused, "" for one that is taken.
	Refuse func(typeURL string, names []string) string
	// From is a client that was here before: delta streams state what it has.
	From *Client
}

// Client is one stream. Make one with Start; Close it.
type Client struct {
	opts   Options
	cancel context.CancelFunc
	done   chan struct{}

	mu        sync.Mutex
	changed   chan struct{} // closed and made anew at every change
	state     State
	versions  map[string]map[string]string
	want      map[string][]string
	nonce     map[string]string
	version   map[string]string // SotW
	responses []Response
	err       error

	send  sync.Mutex
	first bool
	sotw  discoverypb.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	delta discoverypb.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

// Response is one that came.
type Response struct {
	Type    string
	Names   []string
	Removed []string
	Nonce   string
}

// String has the form "Cluster[a b -c]".
func (r Response) String() string {
	names := slices.Clone(r.Names)
	for _, n := range r.Removed {
		names = append(names, "-"+n)
	}
	short := map[string]string{CDS: "cds", EDS: "eds", LDS: "lds", RDS: "rds", VHDS: "vhds", SDS: "sds"}[r.Type]
	return fmt.Sprintf("%s%v", short, names)
}

// Start opens a stream and subscribes.
func Start(ctx context.Context, conn grpc.ClientConnInterface, opts Options) (*Client, error) {
	if opts.Follow == nil {
		opts.Follow = AsEnvoy
	}
	c := &Client{
		opts: opts, done: make(chan struct{}), changed: make(chan struct{}), state: State{}, versions: map[string]map[string]string{},
		want: map[string][]string{}, nonce: map[string]string{}, version: map[string]string{}, first: true,
	}
	ctx, c.cancel = context.WithCancel(ctx)
	if from := opts.From; from != nil {
		from.mu.Lock()
		for t, m := range from.state {
			c.state[t] = maps.Clone(m)
			c.versions[t] = maps.Clone(from.versions[t])
		}
		maps.Copy(c.version, from.version)
		from.mu.Unlock()
	}
	api := discoverypb.NewAggregatedDiscoveryServiceClient(conn)
	var err error
	if opts.SotW {
		c.sotw, err = api.StreamAggregatedResources(ctx)
	} else {
		c.delta, err = api.DeltaAggregatedResources(ctx)
	}
	if err != nil {
		c.cancel()
		return nil, err
	}
	if err := c.follow(""); err != nil && !errors.Is(err, io.EOF) { // after io.EOF, receiving says why the stream has ended
		c.cancel()
		return nil, err
	}
	go c.run()
	return c, nil
}

// Close ends the stream and waits for it.
func (c *Client) Close() { c.cancel(); <-c.done }

// Until waits for the state to be as wanted. The error is that of ctx, of the stream or of Check.
func (c *Client) Until(ctx context.Context, ok func(s State) bool) error {
	for {
		c.mu.Lock()
		good, err, changed := ok(c.state), c.err, c.changed
		c.mu.Unlock()
		if err != nil {
			return err
		}
		if good {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Err waits for the stream to end and returns why.
func (c *Client) Err() error {
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Text returns the state as text.
func (c *Client) Text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Text()
}

// Responses returns what has come so far.
func (c *Client) Responses() []Response {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.responses)
}

func (c *Client) run() {
	defer close(c.done)
	for {
		err := c.receive()
		c.mu.Lock()
		if err != nil {
			c.err = err
		}
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			c.cancel()
			return
		}
	}
}

func (c *Client) receive() error {
	if c.sotw != nil {
		r, err := c.sotw.Recv()
		if err != nil {
			return err
		}
		var names []string
		for _, a := range r.Resources {
			n, err := nameOf(a)
			if err != nil {
				return err
			}
			names = append(names, n)
		}
		return c.took(Response{Type: r.TypeUrl, Names: names, Nonce: r.Nonce}, r.VersionInfo, r.Resources, nil)
	}
	r, err := c.delta.Recv()
	if err != nil {
		return err
	}
	var names, versions []string
	var res []*anypb.Any
	for _, one := range r.Resources {
		names, versions, res = append(names, one.Name), append(versions, one.Version), append(res, one.Resource)
	}
	return c.took(Response{Type: r.TypeUrl, Names: names, Removed: r.RemovedResources, Nonce: r.Nonce}, "", res, versions)
}

// took takes a response, tells Check, follows with what is subscribed to now and answers.
func (c *Client) took(r Response, version string, res []*anypb.Any, versions []string) error {
	refusal := ""
	if c.opts.Refuse != nil {
		refusal = c.opts.Refuse(r.Type, r.Names)
	}
	c.mu.Lock()
	c.responses = append(c.responses, r)
	c.nonce[r.Type] = r.Nonce
	if refusal == "" {
		c.apply(r, version, res, versions)
	}
	var err error
	if c.opts.Check != nil {
		err = c.opts.Check(c.state, r.Type)
	}
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("after %v: %w", r, err)
	}
	if err := c.follow(r.Type); err != nil {
		return err
	}
	return c.answer(r, refusal)
}

func (c *Client) apply(r Response, version string, res []*anypb.Any, versions []string) {
	if c.state[r.Type] == nil || c.opts.SotW && (r.Type == CDS || r.Type == LDS) {
		c.state[r.Type] = map[string]*anypb.Any{}
	}
	if c.versions[r.Type] == nil {
		c.versions[r.Type] = map[string]string{}
	}
	want := c.want[r.Type]
	for i, a := range res {
		if want != nil && !slices.Contains(want, r.Names[i]) && !slices.Contains(want, "*") {
			continue // it crossed with the request that gave the name up
		}
		c.state[r.Type][r.Names[i]] = a
		if versions != nil {
			c.versions[r.Type][r.Names[i]] = versions[i]
		}
	}
	for _, n := range r.Removed {
		delete(c.state[r.Type], n)
		delete(c.versions[r.Type], n)
	}
	c.version[r.Type] = version
}

// follow sends requests for what the state now wants and was not asked for yet. Of the type that was just answered SotW sends nothing: its
// answer carries the names.
func (c *Client) follow(answering string) error {
	c.mu.Lock()
	want := c.opts.Follow(c.state)
	begin := c.first
	c.first = false
	var reqs []func() error
	for _, t := range []string{CDS, EDS, LDS, SDS, RDS, VHDS} {
		names, wanted := want[t]
		old, had := c.want[t]
		if !wanted || had && slices.Equal(old, names) {
			continue
		}
		c.want[t] = names
		node := (*corepb.Node)(nil)
		if begin && len(reqs) == 0 {
			node = c.opts.Node
		}
		if c.opts.SotW {
			if t != answering {
				req := &discoverypb.DiscoveryRequest{Node: node, TypeUrl: t, ResourceNames: names, ResponseNonce: c.nonce[t], VersionInfo: c.version[t]}
				reqs = append(reqs, func() error { return c.sotw.Send(req) })
			}
			if had {
				c.forget(t, names)
			}
			continue
		}
		req := &discoverypb.DeltaDiscoveryRequest{Node: node, TypeUrl: t}
		for _, n := range names {
			if !slices.Contains(old, n) {
				req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, n)
			}
		}
		for _, n := range old {
			if !slices.Contains(names, n) {
				req.ResourceNamesUnsubscribe = append(req.ResourceNamesUnsubscribe, n)
			}
		}
		if !had {
			req.InitialResourceVersions = maps.Clone(c.versions[t])
		} else {
			c.forget(t, names)
		}
		reqs = append(reqs, func() error { return c.delta.Send(req) })
	}
	c.mu.Unlock()
	c.send.Lock()
	defer c.send.Unlock()
	for _, send := range reqs {
		if err := send(); err != nil {
			return err
		}
	}
	return nil
}

// forget drops what is no longer subscribed to, as Envoy does.
func (c *Client) forget(t string, names []string) {
	if names == nil || slices.Contains(names, "*") {
		return // the wildcard
	}
	maps.DeleteFunc(c.state[t], func(n string, _ *anypb.Any) bool { return !slices.Contains(names, n) })
	maps.DeleteFunc(c.versions[t], func(n string, _ string) bool { return !slices.Contains(names, n) })
}

func (c *Client) answer(r Response, refusal string) error {
	var detail *statuspb.Status
	if refusal != "" {
		detail = &statuspb.Status{Code: 13, Message: refusal}
	}
	c.mu.Lock()
	version, names := c.version[r.Type], c.want[r.Type]
	c.mu.Unlock()
	c.send.Lock()
	defer c.send.Unlock()
	if c.sotw != nil {
		return c.sotw.Send(&discoverypb.DiscoveryRequest{
			TypeUrl: r.Type, ResponseNonce: r.Nonce, VersionInfo: version, ResourceNames: names, ErrorDetail: detail})
	}
	return c.delta.Send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: r.Type, ResponseNonce: r.Nonce, ErrorDetail: detail})
}

func nameOf(a *anypb.Any) (string, error) {
	m, err := a.UnmarshalNew()
	if err != nil {
		return "", err
	}
	switch m := m.(type) {
	case interface{ GetName() string }:
		return m.GetName(), nil
	case interface{ GetClusterName() string }:
		return m.GetClusterName(), nil
	}
	return "", errors.New("a resource without a name: " + a.TypeUrl)
}

// AsEnvoy subscribes to all clusters and listeners, and to the endpoints, secrets and routes that they name.
func AsEnvoy(s State) map[string][]string {
	want := map[string][]string{CDS: nil}
	if s[CDS] == nil {
		return want
	}
	if names := EndpointNames(s); len(names) > 0 || s[EDS] != nil {
		want[EDS] = names
	}
	want[LDS] = nil
	if names := RouteNames(s); len(names) > 0 || s[RDS] != nil {
		want[RDS] = names
	}
	if names := SecretNames(s); len(names) > 0 || s[SDS] != nil {
		want[SDS] = names
	}
	return want
}

// OnDemand subscribes as Envoy does, and to the virtual hosts of some hosts in each route configuration that the listeners name. The host "*"
// is the wildcard, which stands for what the client needs without asking.
func OnDemand(hosts ...string) func(s State) map[string][]string {
	return func(s State) map[string][]string {
		want := AsEnvoy(s)
		if s[RDS] == nil {
			return want
		}
		names := []string{}
		for _, routes := range RouteNames(s) {
			for _, h := range hosts {
				if h != "*" {
					names = append(names, routes+"/"+h)
				}
			}
		}
		if slices.Contains(hosts, "*") {
			names = append(names, "*")
		}
		want[VHDS] = names
		return want
	}
}

// SecretNames returns the names of the secrets on this stream that the listeners need, sorted.
func SecretNames(s State) []string {
	out := []string{}
	add := func(list ...*tlspb.SdsSecretConfig) {
		for _, c := range list {
			if c.GetSdsConfig().GetAds() != nil {
				out = append(out, c.Name)
			}
		}
	}
	for _, a := range s[LDS] {
		var l listenerpb.Listener
		if a.UnmarshalTo(&l) != nil {
			continue
		}
		for _, chain := range l.FilterChains {
			var ctx tlspb.DownstreamTlsContext
			if chain.GetTransportSocket().GetTypedConfig().UnmarshalTo(&ctx) != nil {
				continue
			}
			add(ctx.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs()...)
			add(ctx.GetCommonTlsContext().GetCombinedValidationContext().GetValidationContextSdsSecretConfig())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// EndpointNames returns the names of the load assignments that the clusters need, sorted.
func EndpointNames(s State) []string {
	out := []string{}
	for _, a := range s[CDS] {
		var c clusterpb.Cluster
		if a.UnmarshalTo(&c) != nil || c.GetType() != clusterpb.Cluster_EDS {
			continue
		}
		if n := c.GetEdsClusterConfig().GetServiceName(); n != "" {
			out = append(out, n)
		} else {
			out = append(out, c.Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// RouteNames returns the names of the route configurations that the listeners need, sorted.
func RouteNames(s State) []string {
	out := []string{}
	for _, a := range s[LDS] {
		var l listenerpb.Listener
		if a.UnmarshalTo(&l) != nil {
			continue
		}
		for _, chain := range append(slices.Clone(l.FilterChains), l.DefaultFilterChain) {
			for _, f := range chain.GetFilters() {
				var hcm hcmpb.HttpConnectionManager
				if f.GetTypedConfig().UnmarshalTo(&hcm) == nil && hcm.GetRds() != nil {
					out = append(out, hcm.GetRds().RouteConfigName)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
