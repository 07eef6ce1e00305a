package debug

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
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
	// Resources are all types that the proxy watches, by URL.
	Resources map[string]resourceStatus `json:"resources,omitempty"`

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

type resourceStatus struct {
	Sent      string    `json:"sent,omitempty"`
	Acked     string    `json:"acked,omitempty"`
	SentTime  time.Time `json:"sentTime,omitzero"`
	LastError string    `json:"lastError,omitempty"`
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
	name, namespace := r.URL.Query().Get("proxyID"), r.URL.Query().Get("namespace")
	current := s.opts.View().Version()
	out := []syncStatus{}
	for _, p := range s.opts.XDS.Status() {
		if name != "" && !names(p, name) || namespace != "" && p.Proxy.Namespace != namespace {
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
		Protocol: "delta", Served: p.Served, Current: current, Resources: map[string]resourceStatus{},
	}
	for _, t := range p.Types {
		j.Resources[t.TypeURL] = resourceStatus{t.Sent, t.Acked, t.SentAt.UTC(), t.Refusal}
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

// clientsJSON and clientJSON have the keys of Istio's AdsClients and AdsClient.
type clientsJSON struct {
	Total   int          `json:"totalClients"`
	Clients []clientJSON `json:"clients,omitempty"`
}

type clientJSON struct {
	ID        string              `json:"connectionId"`
	Connected time.Time           `json:"connectedAt"`
	Address   string              `json:"address"`
	Labels    map[string]string   `json:"labels"`
	Metadata  map[string]any      `json:"metadata,omitempty"`
	Locality  map[string]string   `json:"locality,omitempty"`
	Watches   map[string][]string `json:"watches,omitempty"`
	// Identity is the SPIFFE ID that the proxy proved, none on the plaintext listener.
	Identity string `json:"identity,omitempty"`
}

func (s *Server) connections(w http.ResponseWriter, _ *http.Request) {
	var out clientsJSON
	for _, p := range s.opts.XDS.Status() {
		out.Clients = append(out.Clients, clientJSON{ID: p.ID, Connected: p.Since.UTC(), Address: p.Address, Identity: p.Caller})
	}
	out.Total = len(out.Clients)
	writeJSON(w, out)
}

// adsz shows who is connected, as whom, and what each asks for; ?proxyID=NAME.NAMESPACE one of them.
func (s *Server) adsz(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("push") != "" {
		http.Error(w, "push=true has no effect: proxies are sent what changes when it does, and nothing else", http.StatusBadRequest)
		return
	}
	name := r.URL.Query().Get("proxyID")
	var out clientsJSON
	for _, p := range s.opts.XDS.Status() {
		if name != "" && !names(p, name) {
			continue
		}
		c := clientJSON{
			ID: p.ID, Connected: p.Since.UTC(), Address: p.Address, Labels: p.Proxy.Labels, Metadata: p.Proxy.Metadata, Identity: p.Caller, Watches: map[string][]string{},
		}
		if l := p.Proxy.Locality; l != (model.Locality{}) {
			c.Locality = map[string]string{"region": l.Region, "zone": l.Zone, "subZone": l.SubZone}
		}
		for _, t := range p.Types {
			c.Watches[t.TypeURL] = append([]string{}, t.Names.All()...)
			if t.All {
				c.Watches[t.TypeURL] = append(c.Watches[t.TypeURL], "*")
			}
		}
		out.Clients = append(out.Clients, c)
	}
	if name != "" && len(out.Clients) == 0 {
		notConnected(w, name)
		return
	}
	out.Total = len(out.Clients)
	writeJSON(w, out)
}

func notConnected(w http.ResponseWriter, name string) {
	http.Error(w, fmt.Sprintf("proxy %q is not connected to this control plane; `lateen proxy-status` lists those that are", name), http.StatusNotFound)
}

type viewJSON struct {
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

// view shows how far proxies are with what is served, and what could not be taken into it.
func (s *Server) view(w http.ResponseWriter, _ *http.Request) {
	out := viewJSON{Version: s.opts.View().Version(), Behind: []string{}, Refused: []refused{}, Errors: s.allErrors()}
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
