package sample

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
)

// serveEcho greets each connection before it has said anything, as go-echo does, then sends back what it gets. The greeting's words
// come from NODE_NAME, POD_NAME, POD_NAMESPACE, POD_IP and SERVICE_ACCOUNT.
func serveEcho(ctx context.Context, cfg Config, ln net.Listener) error {
	greeting := fmt.Sprintf("Welcome, you are connected to node %s.\nRunning on Pod %s.\nIn namespace %s.\nWith IP address %s.\nService %s.\n",
		cfg.Getenv("NODE_NAME"), cfg.Getenv("POD_NAME"), cfg.Getenv("POD_NAMESPACE"), cfg.Getenv("POD_IP"), cfg.Getenv("SERVICE_ACCOUNT"))
	cfg.Logger.Info("app serves", "app", cfg.Kind, "address", ln.Addr().String())
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		conn, err := ln.Accept()
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", cfg.Kind, err)
		}
		conns.Go(func() {
			closeOnEnd := context.AfterFunc(ctx, func() { conn.Close() })
			defer closeOnEnd()
			defer conn.Close()
			if _, err := io.WriteString(conn, greeting); err != nil {
				return // the peer left
			}
			_, _ = io.Copy(conn, conn) // ends when the peer does
		})
	}
}
