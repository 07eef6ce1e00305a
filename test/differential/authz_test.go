package differential

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

// authorizer is an origin whose name begins with "authz-": an authorization service over gRPC. What
// it answers to a request is what that request's header x-authz says: a CheckResponse as JSON, or
// "hang". Without the header the request may pass. What the service is told is compared as the
// message of an origin is.
type authorizer struct {
	authv3.UnimplementedAuthorizationServer
	o *origin
}

// serveAuthz serves until the returned server is closed. The service does not know the deadlines of its
// callers: it would end a call at the same moment as they do.
func serveAuthz(o *origin, lis net.Listener) *http.Server {
	service := grpc.NewServer()
	authv3.RegisterAuthorizationServer(service, &authorizer{o: o})
	srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Grpc-Timeout")
		service.ServeHTTP(w, r)
	})}
	srv.Protocols.SetUnencryptedHTTP2(true)
	o.wg.Go(func() { _ = srv.Serve(noting{lis, o}) })
	return srv
}

// noting keeps the list of an origin's connections for a server that accepts by itself.
type noting struct {
	net.Listener
	o *origin
}

// Accept implements net.Listener.
func (n noting) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if err != nil {
		return nil, err
	}
	n.o.mu.Lock()
	defer n.o.mu.Unlock()
	n.o.conns[c] = true
	return noted{c, n.o}, nil
}

type noted struct {
	net.Conn
	o *origin
}

// Close implements net.Conn.
func (c noted) Close() error {
	c.o.mu.Lock()
	delete(c.o.conns, c.Conn)
	c.o.mu.Unlock()
	return c.Conn.Close()
}

// Check implements authv3.AuthorizationServer.
func (a *authorizer) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	want := r.GetAttributes().GetRequest().GetHttp().GetHeaders()["x-authz"]
	m := message{line: "Check", framing: "none"}
	raw, err := protojson.Marshal(r.GetAttributes())
	if err != nil {
		return nil, err
	}
	var told any
	if err := json.Unmarshal(raw, &told); err != nil {
		return nil, err
	}
	flatten("", told, &m.headers)
	slices.Sort(m.headers)
	a.o.next(m)
	answer := &authv3.CheckResponse{}
	switch want {
	case "":
	case "hang":
		<-ctx.Done()
		return nil, ctx.Err()
	default:
		if err := protojson.Unmarshal([]byte(want), answer); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	return answer, nil
}

// notCompared are attributes that are another's each time.
var notCompared = []string{"request.time", "request.http.id", "source.address.socketAddress.portValue"}

// flatten writes JSON as headers: the path to each value, and the value.
func flatten(path string, v any, out *[]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if path != "" {
				k = path + "." + k
			}
			flatten(k, e, out)
		}
	case []any:
		for i, e := range v {
			flatten(fmt.Sprintf("%s[%d]", path, i), e, out)
		}
	default:
		if !slices.Contains(notCompared, path) {
			// A colon ends a header's name; those of pseudo-headers begin with one.
			*out = append(*out, fmt.Sprintf("%s: %v", strings.ReplaceAll(path, ":", ""), v))
		}
	}
}
