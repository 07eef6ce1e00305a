package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"reflect"
	"strconv"
	"sync"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlspb "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretpb "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// The secrets of an agent: the two that Istio's proxies ask for, and the roots by which our proxy checks the control plane, which are fewer than ROOTCA's where the
// mesh trusts those of others.
const (
	workloadSecret     = "default"
	rootSecret         = "ROOTCA"
	controlPlaneSecret = "CONTROLPLANECA"
	secretType         = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// secrets holds the current identity and wakes who waits for the next.
type secrets struct {
	mu      sync.Mutex
	value   *Identity
	bundle  []anchor // roots that the control plane has told; nil: none
	version uint64
	changed chan struct{} // closed at the next set
}

func newSecrets() *secrets { return &secrets{changed: make(chan struct{})} }

// set takes a new identity. Its roots are trusted beside those that were told before: which of them is newer cannot be known.
func (s *secrets) set(id *Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replace(id.beside(s.bundle))
}

// trust takes the roots that the control plane tells.
func (s *secrets) trust(bundle []anchor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bundle = bundle
	if s.value == nil || len(bundle) == 0 {
		return
	}
	if id := s.value.trusting(bundle); !bytes.Equal(id.Roots, s.value.Roots) || !reflect.DeepEqual(id.peers, s.value.peers) {
		s.replace(id)
	}
}

// replace wakes who waits.
func (s *secrets) replace(id *Identity) {
	s.value = id
	s.version++
	close(s.changed)
	s.changed = make(chan struct{})
}

// get returns the current identity, nil before the first, its version, and a channel that is closed when there is a newer one.
func (s *secrets) get() (*Identity, uint64, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value, s.version, s.changed
}

func (s *secrets) current() *Identity {
	id, _, _ := s.get()
	return id
}

// secret returns one of the secrets as a resource; nil for a name that the agent does not have.
func secret(id *Identity, name string) (*anypb.Any, error) {
	out := &tlspb.Secret{Name: name}
	switch name {
	case workloadSecret:
		out.Type = &tlspb.Secret_TlsCertificate{TlsCertificate: &tlspb.TlsCertificate{
			CertificateChain: inline(id.Chain), PrivateKey: inline(id.Key),
		}}
	case rootSecret:
		v, err := id.validation()
		if err != nil {
			return nil, err
		}
		out.Type = &tlspb.Secret_ValidationContext{ValidationContext: v}
	case controlPlaneSecret:
		out.Type = &tlspb.Secret_ValidationContext{ValidationContext: &tlspb.CertificateValidationContext{TrustedCa: inline(id.Roots)}}
	default:
		return nil, nil
	}
	return anypb.New(out)
}

func inline(b []byte) *corepb.DataSource {
	return &corepb.DataSource{Specifier: &corepb.DataSource_InlineBytes{InlineBytes: b}}
}

// sdsServer serves the secrets over a Unix socket.
type sdsServer struct {
	secretpb.UnimplementedSecretDiscoveryServiceServer
	secrets *secrets
	log     *slog.Logger
	server  *grpc.Server
	ln      net.Listener
}

func listenSDS(path string, s *secrets, log *slog.Logger) (*sdsServer, error) {
	// A socket left by an agent that was killed is in the way. The folder is ours alone.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("serve secrets: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("serve secrets: %w", err)
	}
	srv := &sdsServer{secrets: s, log: log, server: grpc.NewServer(), ln: ln}
	secretpb.RegisterSecretDiscoveryServiceServer(srv.server, srv)
	return srv, nil
}

func (s *sdsServer) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.server.Stop)
	defer stop()
	if err := s.server.Serve(s.ln); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// FetchSecrets is not served: secrets change, and a fetched one would not be told.
func (s *sdsServer) FetchSecrets(context.Context, *discoverypb.DiscoveryRequest) (*discoverypb.DiscoveryResponse, error) {
	return nil, status.Error(codes.Unimplemented, "secrets are streamed: use StreamSecrets or DeltaSecrets")
}

// receive hands over a stream's requests until it ends.
func receive[T any](ctx context.Context, recv func() (*T, error)) (<-chan *T, <-chan error) {
	requests, ended := make(chan *T), make(chan error, 1)
	go func() {
		for {
			req, err := recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case requests <- req:
			case <-ctx.Done():
				ended <- ctx.Err()
				return
			}
		}
	}()
	return requests, ended
}

func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// StreamSecrets is the state-of-the-world protocol: each answer holds all secrets that the last request named.
func (s *sdsServer) StreamSecrets(stream secretpb.SecretDiscoveryService_StreamSecretsServer) error {
	requests, ended := receive(stream.Context(), stream.Recv)
	var names []string
	var sent uint64
	var nonce int
	for {
		id, version, changed := s.secrets.get()
		if len(names) > 0 && id != nil && version != sent {
			resp := &discoverypb.DiscoveryResponse{TypeUrl: secretType, VersionInfo: strconv.FormatUint(version, 10)}
			for _, name := range names {
				resource, err := s.lookup(id, name)
				if err != nil {
					return err
				}
				if resource != nil {
					resp.Resources = append(resp.Resources, resource)
				}
			}
			nonce++
			resp.Nonce = strconv.Itoa(nonce)
			if err := stream.Send(resp); err != nil {
				return err
			}
			sent = version
		}
		select {
		case err := <-ended:
			return endOf(err)
		case <-changed:
		case req := <-requests:
			if req.GetErrorDetail() != nil {
				s.log.Error("the proxy refused a secret", "error", req.GetErrorDetail().GetMessage())
				continue
			}
			if !sameNames(names, req.GetResourceNames()) {
				names, sent = req.GetResourceNames(), 0
			}
		}
	}
}

// DeltaSecrets is the incremental protocol: a secret is sent when it is first asked for, and when it has changed.
func (s *sdsServer) DeltaSecrets(stream secretpb.SecretDiscoveryService_DeltaSecretsServer) error {
	requests, ended := receive(stream.Context(), stream.Recv)
	sent := map[string]uint64{} // subscribed names, with the version that the proxy has
	var nonce int
	for {
		id, version, changed := s.secrets.get()
		resp := &discoverypb.DeltaDiscoveryResponse{TypeUrl: secretType, SystemVersionInfo: strconv.FormatUint(version, 10)}
		for name, has := range sent {
			if id == nil || has == version {
				continue
			}
			resource, err := s.lookup(id, name)
			if err != nil {
				return err
			}
			if resource == nil {
				resp.RemovedResources = append(resp.RemovedResources, name)
			} else {
				resp.Resources = append(resp.Resources, &discoverypb.Resource{Name: name, Version: strconv.FormatUint(version, 10), Resource: resource})
			}
			sent[name] = version
		}
		if len(resp.Resources)+len(resp.RemovedResources) > 0 {
			nonce++
			resp.Nonce = strconv.Itoa(nonce)
			if err := stream.Send(resp); err != nil {
				return err
			}
		}
		select {
		case err := <-ended:
			return endOf(err)
		case <-changed:
		case req := <-requests:
			if req.GetErrorDetail() != nil {
				s.log.Error("the proxy refused a secret", "error", req.GetErrorDetail().GetMessage())
			}
			for _, name := range req.GetResourceNamesSubscribe() {
				sent[name] = 0 // asked for again means sent again, whatever the proxy had
			}
			for _, name := range req.GetResourceNamesUnsubscribe() {
				delete(sent, name)
			}
		}
	}
}

func (s *sdsServer) lookup(id *Identity, name string) (*anypb.Any, error) {
	resource, err := secret(id, name)
	if resource == nil && err == nil {
		s.log.Warn("the proxy asked its agent for a secret that only the control plane could have", "secret", name)
	}
	return resource, err
}

func sameNames(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
