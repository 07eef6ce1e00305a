package proxy

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	clusterv3svc "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	routeservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// ads is a small control plane over delta ADS: what is set goes to every stream that wants it.
type ads struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	clusterv3svc.UnimplementedClusterDiscoveryServiceServer
	routeservicev3.UnimplementedVirtualHostDiscoveryServiceServer
	t       *testing.T
	addr    string
	srv     *grpc.Server
	answers chan *discoveryv3.DeltaDiscoveryRequest // ACKs and NACKs
	// lazy keeps clusters and virtual hosts for those who ask by name; silent does not tell them that there
	// is none.
	lazy, silent bool
	mute         string // a type that is never answered

	mu        sync.Mutex
	nonce     int
	resources map[string]map[string]*anypb.Any
	streams   map[*adsStream]bool
}

type adsStream struct {
	send chan *discoveryv3.DeltaDiscoveryResponse
	all  map[string]bool
	want map[string]map[string]bool
	end  chan struct{}
	// first are the first requests of each type.
	first map[string]*discoveryv3.DeltaDiscoveryRequest
}

func startADS(t *testing.T) *ads {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &ads{
		t: t, addr: lis.Addr().String(), srv: grpc.NewServer(), answers: make(chan *discoveryv3.DeltaDiscoveryRequest, 64),
		resources: map[string]map[string]*anypb.Any{}, streams: map[*adsStream]bool{},
	}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(a.srv, a)
	clusterv3svc.RegisterClusterDiscoveryServiceServer(a.srv, a)
	routeservicev3.RegisterVirtualHostDiscoveryServiceServer(a.srv, a)
	done := make(chan struct{})
	go func() { defer close(done); _ = a.srv.Serve(lis) }()
	t.Cleanup(func() { a.srv.Stop(); <-done })
	return a
}

func (a *ads) DeltaAggregatedResources(st discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return a.serve(st)
}

// DeltaClusters is CDS on a stream of its own.
func (a *ads) DeltaClusters(st clusterv3svc.ClusterDiscoveryService_DeltaClustersServer) error {
	return a.serve(st)
}

// DeltaVirtualHosts is VHDS on a stream of its own.
func (a *ads) DeltaVirtualHosts(st routeservicev3.VirtualHostDiscoveryService_DeltaVirtualHostsServer) error {
	return a.serve(st)
}

func (a *ads) serve(st grpc.BidiStreamingServer[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]) error {
	s := &adsStream{
		send: make(chan *discoveryv3.DeltaDiscoveryResponse, 64), all: map[string]bool{}, want: map[string]map[string]bool{},
		end: make(chan struct{}), first: map[string]*discoveryv3.DeltaDiscoveryRequest{},
	}
	a.mu.Lock()
	a.streams[s] = true
	a.mu.Unlock()
	go func() {
		for {
			r, err := st.Recv()
			if err != nil {
				return
			}
			a.request(s, r)
		}
	}()
	defer func() {
		a.mu.Lock()
		delete(a.streams, s)
		a.mu.Unlock()
	}()
	for {
		select {
		case <-st.Context().Done():
			return nil
		case <-s.end:
			return nil
		case r := <-s.send:
			if err := st.Send(r); err != nil {
				return err
			}
		}
	}
}

func (a *ads) request(s *adsStream, r *discoveryv3.DeltaDiscoveryRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.GetResponseNonce() != "" {
		a.answers <- r
		return
	}
	url := r.GetTypeUrl()
	if s.want[url] == nil {
		s.want[url] = map[string]bool{}
		s.first[url] = r
		s.all[url] = len(r.GetResourceNamesSubscribe()) == 0
	}
	names := map[string]bool{}
	var missing []string
	for _, n := range r.GetResourceNamesSubscribe() {
		if n == "*" {
			s.all[url] = true
			continue
		}
		s.want[url][n], names[n] = true, true
		if (byName(url) || a.lazy && url == xdsresource.TypeRoute) && a.resources[url][n] == nil && !a.silent {
			missing = append(missing, n)
		}
	}
	for _, n := range r.GetResourceNamesUnsubscribe() {
		delete(s.want[url], n)
	}
	var out []string
	for n := range a.resources[url] {
		if a.everybody(s, url) || names[n] {
			out = append(out, n)
		}
	}
	if url != a.mute && (len(out)+len(missing) > 0 || s.all[url]) {
		a.push(s, url, out, missing)
	}
}

// everybody reports whether a stream gets all of a type. The caller holds mu.
func (a *ads) everybody(s *adsStream, url string) bool {
	return s.all[url] && !(a.lazy && byName(url))
}

func byName(url string) bool {
	return url == xdsresource.TypeCluster || url == xdsresource.TypeVirtualHost
}

// wants lists the names of a type that streams ask for.
func (a *ads) wants(url string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	names := map[string]bool{}
	for s := range a.streams {
		maps.Copy(names, s.want[url])
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), " ")
}

// push sends resources to a stream. The caller holds mu.
func (a *ads) push(s *adsStream, url string, names, removed []string) {
	a.nonce++
	resp := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: url, Nonce: fmt.Sprint(a.nonce), SystemVersionInfo: fmt.Sprint(a.nonce), RemovedResources: removed}
	for _, n := range names {
		resp.Resources = append(resp.Resources, &discoveryv3.Resource{Name: n, Version: fmt.Sprint(a.nonce), Resource: a.resources[url][n]})
	}
	s.send <- resp
}

func (a *ads) set(url, name string, m proto.Message) {
	packed, err := anypb.New(m)
	if err != nil {
		a.t.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.resources[url] == nil {
		a.resources[url] = map[string]*anypb.Any{}
	}
	a.resources[url][name] = packed
	for s := range a.streams {
		if a.everybody(s, url) || s.want[url][name] {
			a.push(s, url, []string{name}, nil)
		}
	}
}

// setAll sets several in one response.
func (a *ads) setAll(url string, all map[string]proto.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var names []string
	for name, m := range all {
		packed, err := anypb.New(m)
		if err != nil {
			a.t.Fatal(err)
		}
		a.resources[url][name] = packed
		names = append(names, name)
	}
	for s := range a.streams {
		a.push(s, url, names, nil)
	}
}

func (a *ads) remove(url, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.resources[url], name)
	for s := range a.streams {
		a.push(s, url, nil, []string{name})
	}
}

// send gives every stream a resource as it is.
func (a *ads) send(url string, r *discoveryv3.Resource) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.nonce++
	for s := range a.streams {
		s.send <- &discoveryv3.DeltaDiscoveryResponse{TypeUrl: url, Nonce: fmt.Sprint(a.nonce), Resources: []*discoveryv3.Resource{r}}
	}
}

func resourceOf(name, version string, body *anypb.Any, aliases ...string) *discoveryv3.Resource {
	return &discoveryv3.Resource{Name: name, Version: version, Resource: body, Aliases: aliases}
}

// dropStreams ends all streams; clients come back.
func (a *ads) dropStreams() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.streams {
		delete(a.streams, s)
		close(s.end)
	}
}

// first is the first request for a type on the stream that is open.
func (a *ads) first(url string) *discoveryv3.DeltaDiscoveryRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.streams {
		return s.first[url]
	}
	return nil
}

// answer waits for the next ACK or NACK of a type.
func (a *ads) answer(url string) *discoveryv3.DeltaDiscoveryRequest {
	a.t.Helper()
	for {
		select {
		case r := <-a.answers:
			if r.GetTypeUrl() == url {
				return r
			}
		case <-time.After(time.Minute):
			a.t.Fatalf("no answer for %s", url)
		}
	}
}

func socket(addr string) *corev3.Address {
	host, port, _ := net.SplitHostPort(addr)
	var n uint32
	_, _ = fmt.Sscan(port, &n)
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: n},
	}}}
}

func edsCluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: &corev3.ConfigSource{
			ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		}},
	}
}

func endpoints(name string, addrs ...string) *endpointv3.ClusterLoadAssignment {
	l := &endpointv3.LocalityLbEndpoints{}
	for _, a := range addrs {
		l.LbEndpoints = append(l.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socket(a)}},
		})
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{l}}
}

func tcpListener(t *testing.T, name, addr, cluster string) *listenerv3.Listener {
	cfg, err := anypb.New(&tcpproxyv3.TcpProxy{StatPrefix: name, ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: cluster}})
	if err != nil {
		t.Fatal(err)
	}
	return &listenerv3.Listener{
		Name: name, Address: socket(addr),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "envoy.filters.network.tcp_proxy", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: cfg},
		}}}},
	}
}

// greeter answers every connection with its name and closes it.
func greeter(t *testing.T, name string) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, name)
			c.Close()
		}
	}()
	t.Cleanup(func() { lis.Close(); <-done })
	return lis.Addr().String()
}

func greeting(t *testing.T, addr string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return "error: " + err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil && err != io.EOF {
		return "error: " + err.Error()
	}
	return strings.TrimSpace(line)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

// eventually polls what only another goroutine's progress can change.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

func TestDynamicResources(t *testing.T) {
	cp := startADS(t)
	one, two := greeter(t, "one"), greeter(t, "two")
	front := freeAddr(t)
	cp.set(xdsresource.TypeCluster, "app", edsCluster("app"))
	cp.set(xdsresource.TypeEndpoints, "app", endpoints("app", one))
	cp.set(xdsresource.TypeListener, "tcp", tcpListener(t, "tcp", front, "app"))

	host, port, _ := net.SplitHostPort(cp.addr)
	p := run(t, fmt.Sprintf(`
node: {id: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
dynamic_resources:
  lds_config: {ads: {}}
  cds_config: {ads: {}}
  ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
static_resources:
  clusters:
  - name: xds
    type: STATIC
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}
`, host, port))
	if got := greeting(t, front); got != "one" {
		t.Fatalf("greeting %q, want one", got)
	}
	if r := cp.answer(xdsresource.TypeListener); r.GetErrorDetail() != nil {
		t.Fatalf("listener was refused: %v", r.GetErrorDetail())
	}

	// New endpoints take over.
	cp.set(xdsresource.TypeEndpoints, "app", endpoints("app", two))
	eventually(t, "traffic moves to two", func() bool {
		for range 8 { // each worker learns by itself
			if greeting(t, front) != "two" {
				return false
			}
		}
		return true
	})

	// A bad version of the listener is refused by field, the good one goes on.
	bad := tcpListener(t, "tcp", front, "app")
	bad.UdpListenerConfig = &listenerv3.UdpListenerConfig{}
	cp.set(xdsresource.TypeListener, "tcp", bad)
	if d := cp.answer(xdsresource.TypeListener).GetErrorDetail().GetMessage(); !strings.Contains(d, `listener "tcp": udp_listener_config`) {
		t.Errorf("NACK says %q", d)
	}
	if got := greeting(t, front); got != "two" {
		t.Errorf("greeting %q after a refused update, want two", got)
	}
	if _, body := p.admin("GET", "/config_dump?resource=dynamic_listeners"); !strings.Contains(body, "error_state") || !strings.Contains(body, "active_state") {
		t.Errorf("dump shows no error beside the active state:\n%s", body)
	}

	// The same listener moves to another address; the old one closes.
	moved := freeAddr(t)
	cp.set(xdsresource.TypeListener, "tcp", tcpListener(t, "tcp", moved, "app"))
	cp.answer(xdsresource.TypeListener)
	if got := greeting(t, moved); got != "two" {
		t.Errorf("greeting %q at the new address", got)
	}
	eventually(t, "old address closes", func() bool {
		c, err := net.Dial("tcp", front)
		if err == nil {
			c.Close()
		}
		return err != nil
	})

	// A listener under a new name takes over the address of one that is removed.
	cp.remove(xdsresource.TypeListener, "tcp")
	cp.answer(xdsresource.TypeListener)
	cp.set(xdsresource.TypeListener, "next", tcpListener(t, "next", moved, "app"))
	if d := cp.answer(xdsresource.TypeListener).GetErrorDetail(); d != nil {
		t.Errorf("refused: %v", d)
	}
	if got := greeting(t, moved); got != "two" {
		t.Errorf("greeting %q from the renamed listener", got)
	}

	// Without its cluster connections find no host.
	cp.remove(xdsresource.TypeCluster, "app")
	eventually(t, "cluster goes", func() bool { return greeting(t, moved) != "two" })
}
