package decision

import (
	"context"
	"net"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// authorizer is an application that decides for others: it refuses requests with the header x-refuse, and whoever is the account "refused".
type authorizer struct {
	authv3.UnimplementedAuthorizationServer
}

// Check implements the server of Envoy's external authorization.
func (authorizer) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	a := r.GetAttributes()
	why := a.GetRequest().GetHttp().GetHeaders()["x-refuse"]
	if why == "" && strings.HasSuffix(a.GetSource().GetPrincipal(), "/sa/refused") {
		why = "this account"
	}
	if why != "" {
		return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.PermissionDenied)}, HttpResponse: &authv3.CheckResponse_DeniedResponse{
			DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden}, Body: "refused: " + why},
		}}, nil
	}
	return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.OK)}, HttpResponse: &authv3.CheckResponse_OkResponse{
		OkResponse: &authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-checked", Value: "yes"}}}},
	}}, nil
}

func serveAuthorizer(t *testing.T, l net.Listener) {
	srv := grpc.NewServer()
	authv3.RegisterAuthorizationServer(srv, authorizer{})
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil {
			t.Error("authorizer:", err)
		}
	})
}
