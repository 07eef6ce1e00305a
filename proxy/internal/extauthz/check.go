package extauthz

import (
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/proxy/internal/asyncclient"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

const method = "/envoy.service.auth.v3.Authorization/Check"

// Check asks a service. done gets its answer, or nil where there is none, whatever the reason: it is
// called as asyncclient.Client.Unary says. trace is sent along; nil for none.
func Check(c *asyncclient.Client, to *xdsresource.GRPCTarget, r *authv3.CheckRequest, trace *header.Map, done func(*authv3.CheckResponse)) (cancel func(), err error) {
	message, err := proto.Marshal(r)
	if err != nil {
		return nil, err
	}
	return c.Unary(asyncclient.GRPCRequest{
		Cluster: to.Cluster, Authority: to.Authority, Method: method, Message: message, Metadata: to.Metadata, Timeout: to.Timeout,
		MaxMessage: to.MaxMessage, SkipEnvoyHeaders: to.SkipEnvoyHeaders, Headers: trace,
	}, func(message []byte, status asyncclient.Status) {
		if !status.OK() {
			done(nil)
			return
		}
		answer := &authv3.CheckResponse{}
		if err := proto.Unmarshal(message, answer); err != nil {
			answer = nil
		}
		done(answer)
	}), nil
}
