package debug

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	adminpb "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lateen-mesh/lateen/controlplane/internal/translate"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdsserver"
	"github.com/lateen-mesh/lateen/pkg/redact"
)

// shortTypes are the types that ?types= takes, by Istio's short names.
var shortTypes = map[string]string{
	"cds": xdsserver.TypeCluster, "lds": xdsserver.TypeListener, "eds": xdsserver.TypeEndpoint, "rds": xdsserver.TypeRoute, "sds": xdsserver.TypeSecret,
	"ecds": xdsserver.TypeECDS,
}

// configDump answers with envoy.admin.v3.ConfigDump of what a proxy was sent, in the sections and the order of Istio's: a bootstrap and scoped
// routes are there and empty, endpoints only with ?include_eds. With ?types=cds,rds it has the resources of these types themselves.
func (s *Server) configDump(w http.ResponseWriter, r *http.Request) {
	s.dumpTypes(w, r, r.URL.Query().Get("types"))
}

// dumpOf is configDump of one type.
func (s *Server) dumpOf(short string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { s.dumpTypes(w, r, short) }
}

func (s *Server) dumpTypes(w http.ResponseWriter, r *http.Request, types string) {
	var urls []string
	if types != "" {
		for short := range strings.SplitSeq(types, ",") {
			url := shortTypes[strings.ToLower(short)]
			if url == "" {
				http.Error(w, fmt.Sprintf("types: there is no %q; it takes cds, lds, eds, rds, sds and ecds", short), http.StatusBadRequest)
				return
			}
			urls = append(urls, url)
		}
	}
	s.ofProxy(w, r, func(p *xdsserver.ProxyStatus) (proto.Message, error) {
		if urls != nil {
			return resources(p, urls)
		}
		return dump(p, r.URL.Query().Has("include_eds"))
	})
}

// ndsz answers with the NameTable of a proxy, whether its agent asks for one or not.
func (s *Server) ndsz(w http.ResponseWriter, r *http.Request) {
	s.ofProxy(w, r, func(p *xdsserver.ProxyStatus) (proto.Message, error) {
		return translate.NameTable(s.opts.View().Snapshot(), p.Proxy).Build(), nil
	})
}

// ofProxy answers with what there is of the proxy that the query names.
func (s *Server) ofProxy(w http.ResponseWriter, r *http.Request, what func(*xdsserver.ProxyStatus) (proto.Message, error)) {
	name := r.URL.Query().Get("proxyID")
	if name == "" {
		http.Error(w, "say which proxy: ?proxyID=NAME.NAMESPACE", http.StatusBadRequest)
		return
	}
	status := s.opts.XDS.Status()
	i := slices.IndexFunc(status, func(p xdsserver.ProxyStatus) bool { return names(p, name) })
	if i < 0 {
		notConnected(w, name)
		return
	}
	out, err := what(&status[i])
	if err != nil {
		http.Error(w, "encode: "+err.Error(), http.StatusInternalServerError)
		return
	}
	writeProto(w, out)
}

// writeProto writes a message with the names of its fields in lower camel case, as Istio does; Envoy's own dump has those of the protos.
func writeProto(w http.ResponseWriter, m proto.Message) {
	raw, err := protojson.Marshal(m)
	var text bytes.Buffer
	if err == nil {
		err = json.Indent(&text, raw, "", "  ") // protojson's own spaces are others in each build
	}
	if err != nil {
		http.Error(w, "encode: "+err.Error(), http.StatusInternalServerError)
		return
	}
	text.WriteByte('\n')
	w.Header().Set("Content-Type", "application/json")
	w.Write(text.Bytes())
}

// resources are the resources of some types as they were sent.
func resources(p *xdsserver.ProxyStatus, urls []string) (*adminpb.ConfigDump, error) {
	out := &adminpb.ConfigDump{}
	for _, url := range urls {
		each, err := entries(p.Type(url))
		if err != nil {
			return nil, err
		}
		for _, e := range each {
			out.Configs = append(out.Configs, e.any)
		}
	}
	return out, nil
}

func dump(p *xdsserver.ProxyStatus, endpoints bool) (*adminpb.ConfigDump, error) {
	nothing := func(m proto.Message) func(xdsserver.TypeStatus, []entry) proto.Message {
		return func(xdsserver.TypeStatus, []entry) proto.Message { return m }
	}
	all := &adminpb.ConfigDump{}
	for _, section := range []struct {
		url   string
		build func(t xdsserver.TypeStatus, each []entry) proto.Message
	}{
		{"", nothing(&adminpb.BootstrapConfigDump{})},
		{xdsserver.TypeCluster, clustersDump},
		{xdsserver.TypeEndpoint, endpointsDump},
		{xdsserver.TypeListener, listenersDump},
		{"", nothing(&adminpb.ScopedRoutesConfigDump{})},
		{xdsserver.TypeRoute, routesDump},
		{xdsserver.TypeSecret, secretsDump},
		{xdsserver.TypeECDS, extensionsDump},
	} {
		if section.url == xdsserver.TypeEndpoint && !endpoints {
			continue
		}
		t := p.Type(section.url)
		each, err := entries(t)
		if err != nil {
			return nil, err
		}
		packed, err := anypb.New(section.build(t, each))
		if err != nil {
			return nil, err
		}
		all.Configs = append(all.Configs, packed)
	}
	return all, nil
}

// entry is one resource, decoded.
type entry struct {
	res  *xdscache.Resource
	any  *anypb.Any
	sent *timestamppb.Timestamp
}

// entries leaves out resources of which only the version is known: the proxy came with them, and they are about to be removed.
func entries(t xdsserver.TypeStatus) ([]entry, error) {
	if t.Have == nil {
		return nil, nil
	}
	var out []entry
	var sent *timestamppb.Timestamp
	if !t.SentAt.IsZero() {
		sent = timestamppb.New(t.SentAt)
	}
	for _, r := range t.Have.All() {
		any, err := r.Any()
		if err != nil {
			return nil, err
		}
		if any == nil {
			continue
		}
		if t.TypeURL == xdsserver.TypeSecret {
			any, err = withoutKey(any)
		} else {
			any, err = redact.Headers(any)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, entry{r, any, sent})
	}
	return out, nil
}

// withoutKey is a secret whose private key is not shown.
func withoutKey(a *anypb.Any) (*anypb.Any, error) {
	var s tlsv3.Secret
	if err := a.UnmarshalTo(&s); err != nil {
		return nil, err
	}
	hidden := &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(redact.Hidden)}}
	switch {
	case s.GetTlsCertificate() != nil:
		s.GetTlsCertificate().PrivateKey = hidden
	case s.GetValidationContext() == nil: // keys of tickets, and secrets of any kind
		return anypb.New(&tlsv3.Secret{Name: s.Name, Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secret: hidden}}})
	}
	return anypb.New(&s)
}

func clustersDump(t xdsserver.TypeStatus, each []entry) proto.Message {
	d := &adminpb.ClustersConfigDump{VersionInfo: t.Have.Version()}
	for _, e := range each {
		d.DynamicActiveClusters = append(d.DynamicActiveClusters, &adminpb.ClustersConfigDump_DynamicCluster{
			VersionInfo: e.res.Version, Cluster: e.any, LastUpdated: e.sent})
	}
	return d
}

func listenersDump(t xdsserver.TypeStatus, each []entry) proto.Message {
	d := &adminpb.ListenersConfigDump{VersionInfo: t.Have.Version()}
	for _, e := range each {
		d.DynamicListeners = append(d.DynamicListeners, &adminpb.ListenersConfigDump_DynamicListener{
			Name:        e.res.Name,
			ActiveState: &adminpb.ListenersConfigDump_DynamicListenerState{VersionInfo: e.res.Version, Listener: e.any, LastUpdated: e.sent}})
	}
	return d
}

func routesDump(_ xdsserver.TypeStatus, each []entry) proto.Message {
	d := &adminpb.RoutesConfigDump{}
	for _, e := range each {
		d.DynamicRouteConfigs = append(d.DynamicRouteConfigs, &adminpb.RoutesConfigDump_DynamicRouteConfig{
			VersionInfo: e.res.Version, RouteConfig: e.any, LastUpdated: e.sent})
	}
	return d
}

func endpointsDump(_ xdsserver.TypeStatus, each []entry) proto.Message {
	d := &adminpb.EndpointsConfigDump{}
	for _, e := range each {
		d.DynamicEndpointConfigs = append(d.DynamicEndpointConfigs, &adminpb.EndpointsConfigDump_DynamicEndpointConfig{
			VersionInfo: e.res.Version, EndpointConfig: e.any, LastUpdated: e.sent})
	}
	return d
}

func secretsDump(_ xdsserver.TypeStatus, each []entry) proto.Message {
	d := &adminpb.SecretsConfigDump{}
	for _, e := range each {
		d.DynamicActiveSecrets = append(d.DynamicActiveSecrets, &adminpb.SecretsConfigDump_DynamicSecret{
			Name: e.res.Name, VersionInfo: e.res.Version, Secret: e.any, LastUpdated: e.sent})
	}
	return d
}

func extensionsDump(_ xdsserver.TypeStatus, each []entry) proto.Message {
	d := &adminpb.EcdsConfigDump{}
	for _, e := range each {
		d.EcdsFilters = append(d.EcdsFilters, &adminpb.EcdsConfigDump_EcdsFilterConfig{VersionInfo: e.res.Version, EcdsFilter: e.any, LastUpdated: e.sent})
	}
	return d
}
