package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// origins are the servers behind all proxies: as cheap as can be had, so that the proxies are what is measured.
type origins struct {
	http *process // nginx: a 200-byte answer, and a file of 1 MB
	grpc *process // this program: answers a gRPC message with one
}

// bigFile is the path of the 1 MB body.
const bigFile = "/files/1mb"

func startOrigins(ctx context.Context, dir string) (origins, error) {
	if err := os.MkdirAll(filepath.Join(dir, "files"), 0o755); err != nil {
		return origins{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, bigFile), make([]byte, 1<<20), 0o644); err != nil {
		return origins{}, err
	}
	addr := freeAddr()
	text := strings.ReplaceAll(originConfig, "{{.Body}}", strings.Repeat("0123456789", 20))
	conf, err := write(dir, "origin.conf", text, site{Origin: addr, Dir: dir, PID: filepath.Join(dir, "origin.pid")}, certificate{})
	if err != nil {
		return origins{}, err
	}
	web, err := launch(ctx, "origin", dir, nil, program("nginx"), "-c", conf, "-g", "daemon off;")
	if err != nil {
		return origins{}, err
	}
	web.addr = addr
	if err := web.await(ctx, "http://"+addr+"/", dir); err != nil {
		web.stop()
		return origins{}, err
	}
	self, err := os.Executable()
	if err != nil {
		web.stop()
		return origins{}, err
	}
	addr = freeAddr()
	rpc, err := launch(ctx, "grpc-origin", dir, nil, self, "-grpc-origin", addr)
	if err != nil {
		web.stop()
		return origins{}, err
	}
	rpc.addr = addr
	if err := rpc.await(ctx, "http://"+addr+"/", dir); err != nil {
		web.stop()
		rpc.stop()
		return origins{}, err
	}
	return origins{web, rpc}, nil
}

func (o origins) stop() {
	o.http.stop()
	o.grpc.stop()
}

// grpcMessage is a message of 64 bytes in gRPC's framing.
var grpcMessage = append([]byte{0, 0, 0, 0, 64}, make([]byte, 64)...)

// serveGRPC answers every request with one gRPC message and status OK, over HTTP/2 in the clear.
func serveGRPC(ctx context.Context, addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Protocols: &protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/grpc")
		h.Set("Trailer", "Grpc-Status")
		h.Set("Grpc-Status", "0")
		if _, err := w.Write(grpcMessage); err != nil {
			fmt.Fprintln(os.Stderr, "grpc-origin:", err)
		}
	})}
	context.AfterFunc(ctx, func() { srv.Close() })
	return srv.Serve(ln)
}
