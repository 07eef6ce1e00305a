package debug

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	adminpb "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lateen-mesh/lateen/controlplane/internal/translate"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdsserver"
)

// syncStatus has the keys of Istio's syncz; those after the first group are ours.
type syncStatus struct {
	ClusterID            string `json:"cluster_id,omitempty"`
	ProxyID              string `json:"proxy,omitempty"`
	ProxyType            string `json:"proxy_type,omitempty"`
	ProxyVersion         string `json:"proxy_version,omitempty"`
	IstioVersion         string `json:"istio_version,omitempty"`
	ClusterSent          string `json:"cluster_sent,omitempty"`
	ClusterAcked         string `json:"cluster_acked,omitempty"`
	ListenerSent         string `json:"listener_sent,omitempty"`
	ListenerAcked        string `json:"listener_acked,omitempty"`
	RouteSent            string `json:"route_sent,omitempty"`
	RouteAcked           string `json:"route_acked,omitempty"`
	EndpointSent         string `json:"endpoint_sent,omitempty"`
	EndpointAcked        string `json:"endpoint_acked,omitempty"`
	ExtensionConfigSent  string `json:"extensionconfig_sent,omitempty"`
	ExtensionConfigAcked string `json:"extensionconfig_acked,omitempty"`

	// Istiod is the control plane that answers.
	Istiod string `json:"istiod"`
	// Identity is the SPIFFE ID that the proxy proved, none on the plaintext listener.
	Identity  string    `json:"identity,omitempty"`
	Address   string    `json:"address"`
	Connected time.Time `json:"connected"`
	Protocol  string    `json:"protocol"` // "delta" or "sotw"
	// Served is the version of the last view that the proxy has in full, Current the one that is served now.
	Served  uint64     `json:"served"`
	Current uint64     `json:"current"`
	Types   []typeSync `json:"types"`
}

type typeSync struct {
	Type      string     `json:"type"`
	State     string     `json:"state"`
	Resources int        `json:"resources"`
	SentAt    *time.Time `json:"sentAt,omitempty"`
	// Error is the proxy's text when it refused the last response.
	Error string `json:"error,omitempty"`
}

// shownTypes are the columns of proxy-status.
var shownTypes = []struct{ name, url string }{
	{"CDS", xdsserver.TypeCluster}, {"LDS", xdsserver.TypeListener}, {"EDS", xdsserver.TypeEndpoint}, {"RDS", xdsserver.TypeRoute}, {"ECDS", xdsserver.TypeECDS},
}

func (s *Server) syncz(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("proxyID")
	current := s.opts.View().Version()
	out := []syncStatus{}
	for _, p := range s.opts.XDS.Status() {
		if name != "" && !names(p, name) {
			continue
		}
		out = append(out, s.syncOf(p, current))
	}
	writeJSON(w, out)
}

func (s *Server) syncOf(p xdsserver.ProxyStatus, current uint64) syncStatus {
	j := syncStatus{
		ClusterID: p.Proxy.ClusterID, ProxyID: proxyName(p), ProxyType: string(p.Proxy.Type), ProxyVersion: p.Proxy.IstioVersion,
		IstioVersion: p.Proxy.IstioVersion, Istiod: s.opts.Instance, Identity: p.Caller, Address: p.Address, Connected: p.Since.UTC(),
		Protocol: "delta", Served: p.Served, Current: current,
	}
	if !p.Delta {
		j.Protocol = "sotw"
	}
	for url, pair := range map[string][2]*string{
		xdsserver.TypeCluster: {&j.ClusterSent, &j.ClusterAcked}, xdsserver.TypeListener: {&j.ListenerSent, &j.ListenerAcked},
		xdsserver.TypeRoute: {&j.RouteSent, &j.RouteAcked}, xdsserver.TypeEndpoint: {&j.EndpointSent, &j.EndpointAcked},
		xdsserver.TypeECDS: {&j.ExtensionConfigSent, &j.ExtensionConfigAcked},
	} {
		t := p.Type(url)
		*pair[0], *pair[1] = t.Sent, t.Acked
	}
	for _, shown := range shownTypes {
		t := p.Type(shown.url)
		ts := typeSync{Type: shown.name, State: string(t.State), Resources: t.Resources, Error: t.Refusal}
		if !t.SentAt.IsZero() {
			at := t.SentAt.UTC()
			ts.SentAt = &at
		}
		j.Types = append(j.Types, ts)
	}
	return j
}

func proxyName(p xdsserver.ProxyStatus) string { return p.Proxy.Name + "." + p.Proxy.Namespace }

// names says whether a proxy is meant by NAME.NAMESPACE, NAME, or its node id.
func names(p xdsserver.ProxyStatus, text string) bool {
	return text == proxyName(p) || text == p.Proxy.Name || text == p.Proxy.ID
}

type connectionJSON struct {
	ID        string    `json:"connectionId"`
	Connected time.Time `json:"connectedAt"`
	Address   string    `json:"address"`
	Identity  string    `json:"identity,omitempty"`
}

func (s *Server) connections(w http.ResponseWriter, _ *http.Request) {
	clients := []connectionJSON{}
	for _, p := range s.opts.XDS.Status() {
		clients = append(clients, connectionJSON{p.ID, p.Since.UTC(), p.Address, p.Caller})
	}
	writeJSON(w, map[string]any{"totalClients": len(clients), "clients": clients})
}

type pushStatusJSON struct {
	Version uint64     `json:"version"`
	Proxies int        `json:"proxies"`
	Served  int        `json:"proxiesServed"`
	Behind  []string   `json:"proxiesBehind"`
	Refused []refused  `json:"refused"`
	Errors  errorsJSON `json:"errors"`
}

type refused struct {
	Proxy string `json:"proxy"`
	Type  string `json:"type"`
	Error string `json:"error"`
}

func (s *Server) pushStatus(w http.ResponseWriter, _ *http.Request) {
	out := pushStatusJSON{Version: s.opts.View().Version(), Behind: []string{}, Refused: []refused{}, Errors: s.allErrors()}
	for _, p := range s.opts.XDS.Status() {
		out.Proxies++
		if p.Served >= out.Version {
			out.Served++
		} else {
			out.Behind = append(out.Behind, proxyName(p))
		}
		for _, t := range p.Types {
			if t.Refusal != "" {
				out.Refused = append(out.Refused, refused{proxyName(p), t.TypeURL[strings.LastIndexByte(t.TypeURL, '.')+1:], t.Refusal})
			}
		}
	}
	writeJSON(w, out)
}

// configDump answers with envoy.admin.v3.ConfigDump of what a proxy was sent, as Envoy's own /config_dump shows what it has taken.
func (s *Server) configDump(w http.ResponseWriter, r *http.Request) {
	kinds := wanted(r, "types")
	s.ofProxy(w, r, func(p xdsserver.ProxyStatus) ([]byte, error) { return dump(p, kinds) })
}

// ndsz answers with the NameTable of a proxy, whether its agent asks for one or not.
func (s *Server) ndsz(w http.ResponseWriter, r *http.Request) {
	s.ofProxy(w, r, func(p xdsserver.ProxyStatus) ([]byte, error) {
		return protojson.MarshalOptions{Multiline: true, UseProtoNames: true}.Marshal(translate.NameTable(s.opts.View().Snapshot(), p.Proxy).Build())
	})
}

// ofProxy answers with what there is of the proxy that the query names.
func (s *Server) ofProxy(w http.ResponseWriter, r *http.Request, what func(xdsserver.ProxyStatus) ([]byte, error)) {
	name := r.URL.Query().Get("proxyID")
	if name == "" {
		http.Error(w, "say which proxy: ?proxyID=NAME.NAMESPACE", http.StatusBadRequest)
		return
	}
	for _, p := range s.opts.XDS.Status() {
		if !names(p, name) {
			continue
		}
		raw, err := what(p)
		if err != nil {
			http.Error(w, "encode: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(append(raw, '\n'))
		return
	}
	http.Error(w, fmt.Sprintf("proxy %q is not connected to this control plane; `lateen proxy-status` lists those that are", name), http.StatusNotFound)
}

func dump(p xdsserver.ProxyStatus, kinds func(string) bool) ([]byte, error) {
	all := &adminpb.ConfigDump{}
	for _, section := range []struct {
		kind, url string
		build     func(t xdsserver.TypeStatus, each []entry) proto.Message
	}{
		{"clusters", xdsserver.TypeCluster, clustersDump},
		{"listeners", xdsserver.TypeListener, listenersDump},
		{"routes", xdsserver.TypeRoute, routesDump},
		{"endpoints", xdsserver.TypeEndpoint, endpointsDump},
	} {
		if !kinds(section.kind) {
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
	// Names as in the protos, which is what Envoy's admin API writes.
	return protojson.MarshalOptions{Multiline: true, Indent: "  ", UseProtoNames: true}.Marshal(all)
}

// entry is one resource, decoded.
type entry struct {
	res  *xdscache.Resource
	any  *anypb.Any
	sent *timestamppb.Timestamp
}

// entries leaves out resources of which only the version is known: the proxy came with them, and they are about to be removed.
func entries(t xdsserver.TypeStatus) ([]entry, error) {
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
		if any != nil {
			out = append(out, entry{r, any, sent})
		}
	}
	return out, nil
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
