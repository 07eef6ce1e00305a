package xdsclient

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/proxy/internal/trust"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Secrets gives the values of SDS secrets; server's store is one. It is transportsocket's
// interface of the same shape, written down here to keep the data path out of this package.
type Secrets interface {
	Certificate(sdsCluster, name string, changed func(xdsresource.TLSCertificate)) (cancel func())
	Validation(sdsCluster, name string, changed func(xdsresource.ValidationContext)) (cancel func())
}

// Dialer connects to a cluster of the bootstrap by gRPC: its endpoints in turn, with its
// connect timeout and its TLS settings. Each connection uses the newest secrets.
type Dialer struct {
	cluster *xdsresource.Cluster
	call    xdsresource.GRPCCall
	tls     *xdsresource.UpstreamTLS // nil: plain text
	next    atomic.Uint32

	mu      sync.Mutex
	cert    *tls.Certificate
	trust   *trust.Trust
	cancels []func()
	// changed is closed and replaced when a secret arrives.
	changed chan struct{}
}

// NewDialer subscribes to the cluster's secrets. Close ends that.
func NewDialer(c *xdsresource.Cluster, call xdsresource.GRPCCall, secrets Secrets) (*Dialer, error) {
	d := &Dialer{cluster: c, call: call, changed: make(chan struct{})}
	n := 0
	for _, l := range c.Endpoints.Localities {
		n += len(l.Endpoints)
	}
	if n == 0 {
		return nil, fmt.Errorf("cluster %q has no endpoint to dial", c.Name)
	}
	if c.Transport == nil {
		return d, nil
	}
	if c.Transport.Proxy != nil {
		return nil, fmt.Errorf("cluster %q: transport_socket: the PROXY protocol is not supported towards a control plane or collector", c.Name)
	}
	d.tls = c.Transport.TLS
	t := d.tls
	if len(t.Certificates) > 1 {
		return nil, fmt.Errorf("cluster %q: more than one client certificate is not supported", c.Name)
	}
	for _, src := range t.Certificates {
		if src.Inline != nil {
			d.setCert(*src.Inline)
			continue
		}
		d.cancels = append(d.cancels, secrets.Certificate(src.SDSCluster, src.SDS, d.setCert))
	}
	if v := t.Validation; v != nil {
		if v.Inline != nil {
			if err := d.setTrust(*v.Inline); err != nil {
				return nil, fmt.Errorf("cluster %q: validation_context: %w", c.Name, err)
			}
		} else {
			d.cancels = append(d.cancels, secrets.Validation(v.SDSCluster, v.SDS, func(v xdsresource.ValidationContext) {
				_ = d.setTrust(v) // one that cannot be used leaves the last good one
			}))
		}
	}
	return d, nil
}

func (d *Dialer) setCert(c xdsresource.TLSCertificate) {
	cert, err := tls.X509KeyPair(c.Chain, c.Key)
	if err != nil {
		return // the decoder has refused such a secret already
	}
	d.mu.Lock()
	d.cert = &cert
	d.arrived()
	d.mu.Unlock()
}

func (d *Dialer) setTrust(v xdsresource.ValidationContext) error {
	t, err := trust.New(v.Over(d.tls.Default))
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.trust = t
	d.arrived()
	d.mu.Unlock()
	return nil
}

// arrived wakes whoever waits in Dial. The caller holds mu.
func (d *Dialer) arrived() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// waitForSecrets returns when everything that TLS needs is there. The agent that serves the
// secrets may still be asking for them.
func (d *Dialer) waitForSecrets(ctx context.Context) error {
	t := d.tls
	for {
		d.mu.Lock()
		ok := (len(t.Certificates) == 0 || d.cert != nil) && (t.Validation == nil || d.trust != nil)
		changed := d.changed
		d.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends the subscriptions.
func (d *Dialer) Close() {
	for _, c := range d.cancels {
		c()
	}
}

// maxMessage bounds answers where nothing else is said. Configuration of a large mesh is large; the
// source is trusted with our memory.
const maxMessage = 256 << 20

// Dial prepares a connection once all secrets are there; grpc-go connects when the stream is
// opened.
func (d *Dialer) Dial(ctx context.Context) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if d.tls != nil {
		if err := d.waitForSecrets(ctx); err != nil {
			return nil, err
		}
		cfg, err := d.tlsConfig()
		if err != nil {
			return nil, err
		}
		creds = sniApart{credentials.NewTLS(cfg)}
	}
	return grpc.NewClient("passthrough:///"+d.cluster.Name,
		grpc.WithTransportCredentials(creds),
		grpc.WithAuthority(cmp.Or(d.call.Authority, d.cluster.Name)),
		grpc.WithContextDialer(d.connect),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(cmp.Or(d.call.MaxMessage, maxMessage))),
		// Small buffers keep a sidecar small.
		grpc.WithReadBufferSize(8<<10), grpc.WithWriteBufferSize(8<<10),
	)
}

// sniApart lets the authority of the requests and the name in the TLS handshake differ, as they do for
// Envoy; grpc-go refuses that where it knows of both.
type sniApart struct {
	credentials.TransportCredentials
}

func (c sniApart) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: c.TransportCredentials.Info().SecurityProtocol} // without a ServerName
}

func (c sniApart) Clone() credentials.TransportCredentials {
	return sniApart{c.TransportCredentials.Clone()}
}

// Transport prepares HTTP/1.1 requests once all secrets are there; both schemes go to the cluster,
// with its TLS settings or raw.
func (d *Dialer) Transport(ctx context.Context) (*http.Transport, error) {
	t := &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return d.connect(ctx, "") },
		MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, DisableCompression: true,
	}
	if d.tls == nil {
		return t, nil
	}
	if err := d.waitForSecrets(ctx); err != nil {
		return nil, err
	}
	cfg, err := d.tlsConfig()
	if err != nil {
		return nil, err
	}
	cfg.NextProtos = slices.DeleteFunc(cfg.NextProtos, func(name string) bool { return strings.HasSuffix(name, "h2") })
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		raw, err := d.connect(ctx, "")
		if err != nil {
			return nil, err
		}
		c := tls.Client(raw, cfg)
		if err := c.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		return c, nil
	}
	return t, nil
}

// Connect opens a connection without TLS or protocol.
func (d *Dialer) Connect(ctx context.Context) (net.Conn, error) { return d.connect(ctx, "") }

// connect opens the socket to the next endpoint.
func (d *Dialer) connect(ctx context.Context, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cluster.ConnectTimeout)
	defer cancel()
	var all []xdsresource.Address
	for _, l := range d.cluster.Endpoints.Localities {
		for _, e := range l.Endpoints {
			all = append(all, e.Address)
		}
	}
	a := all[int(d.next.Add(1)-1)%len(all)]
	nd := net.Dialer{KeepAlive: 15 * time.Second}
	switch {
	case a.Pipe != "":
		return nd.DialContext(ctx, "unix", a.Pipe)
	case a.IP.IsValid():
		return nd.DialContext(ctx, "tcp", net.JoinHostPort(a.IP.String(), strconv.Itoa(int(a.Port))))
	default:
		return nd.DialContext(ctx, "tcp", net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port))))
	}
}

func (d *Dialer) tlsConfig() (*tls.Config, error) {
	t := d.tls
	d.mu.Lock()
	defer d.mu.Unlock()
	// The mesh's servers tell TLS of the mesh from an application's own by the names that the cluster offers.
	cfg := &tls.Config{ServerName: t.SNI, MinVersion: t.MinVersion, MaxVersion: t.MaxVersion, NextProtos: slices.Clone(t.ALPN)}
	if !slices.Contains(cfg.NextProtos, "h2") {
		cfg.NextProtos = append(cfg.NextProtos, "h2")
	}
	if len(t.Certificates) > 0 {
		cfg.Certificates = []tls.Certificate{*d.cert}
	}
	// The peer is judged below: Envoy's validation context knows more than a server name.
	cfg.InsecureSkipVerify = true
	if t.Validation == nil {
		return cfg, nil
	}
	bundle := d.trust
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		return bundle.Verify(cs.PeerCertificates, x509.ExtKeyUsageServerAuth, time.Now())
	}
	return cfg, nil
}
