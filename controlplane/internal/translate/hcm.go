package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// serverName is the value of the server header (A24).
const serverName = "istio-envoy"

// toHTTP is the filter of a chain for requests, with either a route configuration by name or one inline.
func (f *filters) toHTTP(statPrefix, rds string, inline *routev3.RouteConfiguration) []*listenerv3.Filter {
	return []*listenerv3.Filter{networkFilter(hcmFilter, toAny(f.manager(statPrefix, rds, inline)))}
}

// manager is toHTTP's connection manager.
func (f *filters) manager(statPrefix, rds string, inline *routev3.RouteConfiguration) *hcmv3.HttpConnectionManager {
	m := &hcmv3.HttpConnectionManager{
		CodecType: hcmv3.HttpConnectionManager_AUTO, StatPrefix: statPrefix, HttpFilters: f.http(),
		ServerName: serverName, AccessLog: f.logs.requests, NormalizePath: boolean(true),
		PathWithEscapedSlashesAction: hcmv3.HttpConnectionManager_KEEP_UNCHANGED,
		UseRemoteAddress:             boolean(f.d == gateway),
		GenerateRequestId:            boolean(true),
		StreamIdleTimeout:            zeroDuration(),
		UpgradeConfigs:               []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		InternalAddressConfig:        internalAddresses(),
	}
	m.Tracing, m.RequestIdExtension = tracing(f.s, f.p, f.d)
	switch f.s.Mesh.Paths {
	case model.PathsAsTheyAre:
		m.NormalizePath = boolean(false)
	case model.PathsMerged:
		m.MergeSlashes = true
	case model.PathsDecoded:
		m.MergeSlashes, m.PathWithEscapedSlashesAction = true, hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD
	}
	applyHeaders(m, f.d, f.s.HeadersOf(f.p))
	applyConnections(m, f.s.ConnectionsOf(f.p))
	if inline != nil {
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: inline}
	} else {
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: adsSource(), RouteConfigName: rds}}
	}
	return m
}

// forwardClientCert are Envoy's values for Istio's.
var forwardClientCert = map[model.ForwardClientCert]hcmv3.HttpConnectionManager_ForwardClientCertDetails{
	model.ForwardUndefined: hcmv3.HttpConnectionManager_SANITIZE_SET, model.ForwardSanitize: hcmv3.HttpConnectionManager_SANITIZE,
	model.ForwardOnly: hcmv3.HttpConnectionManager_FORWARD_ONLY, model.ForwardAppend: hcmv3.HttpConnectionManager_APPEND_FORWARD,
	model.ForwardSanitizeSet: hcmv3.HttpConnectionManager_SANITIZE_SET, model.ForwardAlwaysOnly: hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY,
}

// applyTopology tells a gateway's connection manager what stands before it: whose word on the client's address counts, and what becomes
// of a certificate that somebody else has seen.
func applyTopology(m *hcmv3.HttpConnectionManager, t model.Topology) {
	m.XffNumTrustedHops = t.TrustedProxies
	m.ForwardClientCertDetails = forwardClientCert[t.ForwardClientCert]
	switch m.ForwardClientCertDetails {
	case hcmv3.HttpConnectionManager_APPEND_FORWARD, hcmv3.HttpConnectionManager_SANITIZE_SET:
		m.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{Subject: boolean(true), Cert: true, Dns: true, Uri: true}
	}
}

// internalAddresses are those whose requests come from within (x-envoy-internal): private networks and loopback, as Envoy took them to be
// before it knew none by default, and as the mesh's users count on. All of 127/8, since a mesh on one machine gives each workload an
// address there.
func internalAddresses() *hcmv3.HttpConnectionManager_InternalAddressConfig {
	c := &hcmv3.HttpConnectionManager_InternalAddressConfig{}
	for _, r := range []struct {
		prefix string
		bits   uint32
	}{{"10.0.0.0", 8}, {"172.16.0.0", 12}, {"192.168.0.0", 16}, {"127.0.0.0", 8}, {"::1", 128}, {"fd00::", 8}} {
		c.CidrRanges = append(c.CidrRanges, &corev3.CidrRange{AddressPrefix: r.prefix, PrefixLen: u32(r.bits)})
	}
	return c
}
