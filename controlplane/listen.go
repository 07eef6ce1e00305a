package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdsserver"
	"github.com/lateen-mesh/lateen/pkg/lifecycle"
)

// shutdown is how long requests in work may go on when the control plane ends. Streams are cut at once: proxies come back by themselves.
const shutdown = time.Second

type listeners struct{ grpc, secure, http net.Listener }

func (l *listeners) close() {
	for _, one := range []net.Listener{l.grpc, l.secure, l.http} {
		if one != nil {
			one.Close() // a second close, after its server's, is an error that says nothing
		}
	}
}

// listen opens all three listeners or none.
func (c *ControlPlane) listen() (*listeners, error) {
	l := &listeners{}
	for _, one := range []struct {
		at         *net.Listener
		said       *net.Addr
		addr, flag string
	}{
		{&l.grpc, &c.addrs.GRPC, c.cfg.GRPCAddr, "--grpc-addr"},
		{&l.secure, &c.addrs.SecureGRPC, c.cfg.SecureGRPCAddr, "--secure-grpc-addr"},
		{&l.http, &c.addrs.HTTP, c.cfg.HTTPAddr, "--http-addr"},
	} {
		if one.addr == "" {
			continue
		}
		opened, err := net.Listen("tcp", one.addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("control plane: %s is taken by another program; stop it, or choose another address with %s", one.addr, one.flag)
		} else if err != nil {
			err = fmt.Errorf("control plane: %w; %s sets the address", err, one.flag)
		}
		if err != nil {
			l.close()
			return nil, err
		}
		*one.at, *one.said = opened, opened.Addr()
	}
	return l, nil
}

// serve starts the servers in the group.
func (c *ControlPlane) serve(g *lifecycle.Group, l *listeners) {
	if l.grpc != nil {
		s := grpc.NewServer(xdsserver.ServerOptions()...)
		c.xds.Register(s)
		serveGRPC(g, "plaintext xDS", s, l.grpc)
	}
	if l.secure != nil {
		var ips []net.IP
		if tcp, ok := l.secure.Addr().(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
			ips = append(ips, tcp.IP)
		}
		s := grpc.NewServer(append(xdsserver.ServerOptions(), grpc.Creds(credentials.NewTLS(c.ca.ServerTLS(ips...))))...)
		c.xds.Register(s)
		c.ca.Register(s)
		serveGRPC(g, "xDS and certificates", s, l.secure)
	}
	if l.http != nil {
		s := &http.Server{Handler: c.debug, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
		g.Go("debug pages", func(context.Context) error { return ignoreClosed(s.Serve(l.http)) })
		g.Go("debug pages", func(ctx context.Context) error {
			<-ctx.Done()
			end, cancel := context.WithTimeout(context.Background(), shutdown)
			defer cancel()
			if s.Shutdown(end) != nil {
				return ignoreClosed(s.Close())
			}
			return nil
		})
	}
}

func serveGRPC(g *lifecycle.Group, name string, s *grpc.Server, l net.Listener) {
	g.Go(name, func(context.Context) error { return s.Serve(l) })
	g.Go(name, func(ctx context.Context) error { <-ctx.Done(); s.Stop(); return nil })
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
