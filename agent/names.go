package agent

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/lateen-mesh/lateen/agent/nameserver"
	"github.com/lateen-mesh/lateen/pkg/nametable"
)

// Keys of the node's metadata that say that the agent answers the workload's DNS queries, and that it takes the names one host at a time.
const (
	dnsCapture  = "DNS_CAPTURE"
	namesByHost = "LATEEN_NAMES"
)

// maxNamesBytes is the largest message of names: a mesh of 100,000 hosts.
const maxNamesBytes = 64 << 20

// CapturesDNS reports whether the node's metadata says that the agent answers the workload's DNS queries.
func CapturesDNS(metadata map[string]any) bool {
	text, _ := metadata[dnsCapture].(string)
	return metadata[dnsCapture] == true || strings.EqualFold(text, "true")
}

// names keeps what the name server answers from as the control plane has it, on a stream beside the proxy's. What was told last stays while there is none.
type names struct {
	cfg     Config
	secrets *secrets
	node    *corepb.Node
	server  *nameserver.Server

	have  map[string]string // versions by resource; of the stream's goroutine alone
	once  sync.Once
	known chan struct{} // closed when the control plane has told something
}

func newNames(cfg Config, s *secrets, server *nameserver.Server) (*names, error) {
	asks := cfg
	asks.Metadata = map[string]any{namesByHost: "true"}
	maps.Copy(asks.Metadata, cfg.Metadata)
	node, err := asks.node()
	if err != nil {
		return nil, err
	}
	return &names{cfg: cfg, secrets: s, node: node, server: server, have: map[string]string{}, known: make(chan struct{})}, nil
}

// namesWait is how long the start of a proxy waits for the mesh's names: whoever asks before they are there is told to ask again.
const namesWait = 3 * time.Second

// await returns when there are names, or some time has passed.
func (n *names) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, namesWait)
	defer cancel()
	select {
	case <-n.known:
	case <-ctx.Done():
		n.cfg.Logger.Info("the control plane does not tell the names of the mesh yet; queries wait for them")
	}
}

// run keeps a stream to the control plane until ctx ends.
func (n *names) run(ctx context.Context) error {
	keep(ctx, n.cfg.Logger, "the names of the mesh", n.stream)
	return nil
}

// stream is one connection. It begins with the versions of what is known already.
func (n *names) stream(ctx context.Context) error {
	conn, err := dial(n.cfg, n.secrets, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxNamesBytes)))
	if err != nil {
		return err
	}
	defer conn.Close()
	ads, err := discoverypb.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	if err := ads.Send(&discoverypb.DeltaDiscoveryRequest{Node: n.node, TypeUrl: nametable.TypeURL, InitialResourceVersions: n.have}); err != nil {
		_, err = ads.Recv() // which knows why
		return err
	}
	for {
		resp, err := ads.Recv()
		if err != nil {
			return err
		}
		if err := ads.Send(n.take(resp)); err != nil {
			_, err = ads.Recv()
			return err
		}
	}
}

// take takes what has changed, and returns the answer to it. Of a response that is not valid nothing counts.
func (n *names) take(resp *discoverypb.DeltaDiscoveryResponse) *discoverypb.DeltaDiscoveryRequest {
	answer := &discoverypb.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()}
	changed := map[string]*nametable.Table{}
	for _, r := range resp.GetResources() {
		t, err := nametable.Parse(r.GetResource().GetValue())
		if err != nil {
			err = fmt.Errorf("%q: %w", r.GetName(), err)
			n.cfg.Logger.Error("names of the control plane are not valid; those from before stay", "error", err)
			answer.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: err.Error()}
			return answer
		}
		changed[r.GetName()] = t
	}
	for _, r := range resp.GetResources() {
		n.have[r.GetName()] = r.GetVersion()
	}
	for _, name := range resp.GetRemovedResources() {
		delete(n.have, name)
	}
	n.server.Set(changed, resp.GetRemovedResources())
	n.once.Do(func() { close(n.known) })
	return answer
}
