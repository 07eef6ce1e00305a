package xdsserver

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
	"github.com/lateen-mesh/lateen/pkg/version"
)

// defaultAckTimeout is how long a step of one stream waits for its proxy. Envoy acknowledges clusters once they are warm, which for a DNS
// name that does not answer takes until its first look-up has failed.
const defaultAckTimeout = 5 * time.Second

const (
	// requestWindow is how many bytes of requests a connection may have under way. What a proxy states when it comes back fits, but for the largest meshes.
	requestWindow = 1 << 20
	readBuffer    = 4 << 10
	// slowReader is how long a proxy may take nothing of what is sent to it, or not answer a ping: gRPC gives it to the kernel as TCP_USER_TIMEOUT, too. When a thousand
	// proxies come at once to a machine that is busy, one may have to wait for its turn for more than ten seconds.
	slowReader = 30 * time.Second
)

// Options say how the server works. Authenticate and View are required.
type Options struct {
	// View is what is served until the first Push.
	View View
	// Authenticate returns who calls, for streams that come over TLS. Others are taken as they are: their listener is for loopback.
	Authenticate func(ctx context.Context) (spiffe.ID, error)
	// Begun, when it is not nil, is closed once the view is worth serving; streams wait for it. A proxy that is told before what there is
	// would drop what it has.
	Begun <-chan struct{}
	// Registrar registers workloads that ask for it; nil: such proxies are served as others are.
	Registrar Registrar
	// Instance names this control plane, as in the column ISTIOD of proxy-status.
	Instance string
	// Limits bound streams and their requests.
	Limits Limits
	// FirstWait is how long the first message of a stream may take. Default 15 s.
	FirstWait time.Duration
	// AckTimeout is how long later types and removals wait for the answer to earlier ones. Default 5 s.
	AckTimeout time.Duration
	// Logger gets a line for each stream's begin and end and for each refusal. Default: none.
	Logger *slog.Logger
	// Registerer gets the metrics, pilot_* as Istio's. Default: none.
	Registerer prometheus.Registerer
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Registrar is told of the connections of proxies, and of what their agents find out.
type Registrar interface {
	// Connect returns the proxy as it is to be served, and what is to be called when the connection has ended. The error is told to the proxy, which
	// is sent away.
	Connect(ctx context.Context, p *model.Proxy) (served *model.Proxy, leave func(), err error)
	// Health says whether the workload of a connected proxy is well, and if not, why.
	Health(p *model.Proxy, healthy bool, message string)
}

// Server serves ADS. Make one with New; its methods may be called from any goroutine.
type Server struct {
	discoverypb.UnimplementedAggregatedDiscoveryServiceServer
	opts       Options
	log        *slog.Logger
	metrics    *metrics
	identifier string
	// slots bound how many streams work out what to send at once; a burst of pushes then finishes stream by stream.
	slots chan struct{}
	gate  *gate

	view    atomic.Pointer[pushed]
	names   xdscache.NameTable
	memory  memory
	nextID  atomic.Uint64
	mu      sync.Mutex
	streams map[*stream]struct{}
}

// pushed is a view and when it was pushed.
type pushed struct {
	view View
	at   time.Time
}

// New returns a server of the options' view.
func New(opts Options) *Server {
	if opts.AckTimeout <= 0 {
		opts.AckTimeout = defaultAckTimeout
	}
	if opts.FirstWait <= 0 {
		opts.FirstWait = firstWait
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Server{
		opts: opts, log: opts.Logger, metrics: newMetrics(opts.Registerer), identifier: identifier(opts.Instance),
		slots: make(chan struct{}, 2*runtime.GOMAXPROCS(0)), streams: map[*stream]struct{}{},
		gate: newGate(opts.Limits),
	}
	s.view.Store(&pushed{opts.View, opts.Now()})
	return s
}

// identifier has Istio's form, which tools read to tell which control plane a proxy is connected to.
func identifier(instance string) string {
	raw, err := json.Marshal(map[string]any{
		"Component": "istiod", "ID": instance,
		"Info": map[string]string{"version": version.IstioCompat, "tag": version.Version()},
	})
	if err != nil {
		panic(fmt.Sprintf("BUG: the control plane's identifier: %v", err))
	}
	return string(raw)
}

// Register adds the service to a gRPC server, which must have been made with ServerOptions.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	discoverypb.RegisterAggregatedDiscoveryServiceServer(r, s)
}

// ServerOptions are what a gRPC server must be made with: the codec, and bounds. A connection ends after half an hour, so that a
// certificate that has expired since is noticed; the proxy comes back at once and is sent nothing that it has.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(Codec()),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxConcurrentStreams(100),
		// Fixed windows: gRPC would otherwise ask for a round trip with each acknowledgement to find out how large they should be.
		grpc.InitialWindowSize(requestWindow), grpc.InitialConnWindowSize(requestWindow),
		// Requests are small but for the first. A thousand connections would hold 32 MB in buffers of gRPC's default size.
		grpc.ReadBufferSize(readBuffer),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: 30 * time.Second, Timeout: slowReader,
			MaxConnectionAge: 30 * time.Minute, MaxConnectionAgeGrace: 10 * time.Second,
		}),
		// gRPC's clients ask for a round trip with what they receive, to find out how large their windows should be. One that reads a large
		// configuration that we wrote long ago does so many times while we write nothing; gRPC would take that for an attack and hang up.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Nanosecond, PermitWithoutStream: true}),
	}
}

// Push offers a new view to all streams. It does not wait for them. A view that is not newer than the last is ignored.
func (s *Server) Push(v View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Version() <= s.view.Load().view.Version() {
		return
	}
	s.view.Store(&pushed{v, s.opts.Now()})
	for st := range s.streams {
		st.wakeUp()
	}
}

// View returns what is served now.
func (s *Server) View() View { return s.view.Load().view }

// DeltaAggregatedResources serves a delta stream.
func (s *Server) DeltaAggregatedResources(g discoverypb.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.serve(g, false, func() (message, error) {
		var m wireRequest
		if err := g.RecvMsg(&m); err != nil {
			return message{}, err
		}
		req, err := m.request()
		return message{m.node, req}, invalid(err)
	})
}

// StreamAggregatedResources serves a state-of-the-world stream.
func (s *Server) StreamAggregatedResources(g discoverypb.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.serve(g, true, func() (message, error) {
		m, err := g.Recv()
		if err != nil {
			return message{}, err
		}
		req, err := fromSotW(m)
		return message{m.GetNode(), req}, invalid(err)
	})
}
