package debug

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdsserver"
)

// distributionJSON answers both questions of `lateen apply --wait` and `lateen delete --wait`: since which version of the mesh objects are in
// force, or gone, and which proxies do not serve a version yet.
type distributionJSON struct {
	// Version is that of a view in which all objects are as they were asked for; 0 while there is none. It is the one asked for when that is a
	// version.
	Version uint64 `json:"version"`
	// Missing are the objects that are not as they were asked for in any view yet, in the words of the question.
	Missing []missingJSON `json:"missing,omitempty"`
	// Proxies are those that are connected; Behind are those of them that do not serve the version.
	Proxies []string     `json:"proxies,omitempty"`
	Behind  []behindJSON `json:"behind,omitempty"`
}

type missingJSON struct {
	Resource string `json:"resource"`
	Why      string `json:"why"`
}

type behindJSON struct {
	Proxy string `json:"proxy"`
	Why   string `json:"why"`
	// Refused: waiting does not help, since the proxy has refused what it was sent.
	Refused bool `json:"refused,omitempty"`
}

// meshResource names the mesh configuration where objects are named as KIND/NAMESPACE/NAME.
const meshResource = "meshconfig"

// distribution answers ?resource=KIND[.GROUP]/NAMESPACE/NAME@VERSION and ?gone=KIND[.GROUP]/NAMESPACE/NAME, given as often as need be, with the
// version of the mesh that has the former and not the latter, and ?version=N with the proxies that do not serve that version or a later one.
func (s *Server) distribution(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if v := query.Get("version"); v != "" {
		version, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			http.Error(w, fmt.Sprintf("version=%q is not a number", v), http.StatusBadRequest)
			return
		}
		writeJSON(w, s.behind(version, time.Now()))
		return
	}
	asked := slices.Concat(query["resource"], query["gone"])
	if len(asked) == 0 || s.opts.TakenIn == nil {
		http.Error(w, "say what to look for: ?resource=KIND/NAMESPACE/NAME@VERSION, ?gone=KIND/NAMESPACE/NAME, or ?version=N", http.StatusBadRequest)
		return
	}
	out := distributionJSON{}
	states := make([]configstore.State, len(s.opts.Stores))
	for i, store := range s.opts.Stores {
		states[i] = store.Store.State()
	}
	for i, res := range asked {
		look := lookFor
		if i >= len(query["resource"]) {
			look = lookForGone
		}
		why, err := look(states, res)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if why != "" {
			out.Missing = append(out.Missing, missingJSON{res, why})
		}
	}
	if len(out.Missing) == 0 {
		for i, store := range s.opts.Stores {
			version, ok := s.opts.TakenIn(store.Name, states[i].Number)
			if !ok {
				out = distributionJSON{Missing: []missingJSON{{asked[0], "it was read and is about to be sent"}}}
				break
			}
			out.Version = version
		}
	}
	writeJSON(w, out)
}

// lookFor says why stores do not have a resource at its version; "" when one has it.
func lookFor(states []configstore.State, resource string) (string, error) {
	name, version, ok := strings.Cut(resource, "@")
	if !ok {
		return "", fmt.Errorf("resource=%q has no @VERSION", resource)
	}
	held, err := heldVersion(states, name)
	switch {
	case err != nil || held == version:
		return "", err
	case held == "":
		return "the control plane has not read it", nil
	}
	return "the control plane has another form of it, " + held, nil
}

// lookForGone says why a resource is not gone; "" when no store has it.
func lookForGone(states []configstore.State, name string) (string, error) {
	held, err := heldVersion(states, name)
	if err != nil || held == "" {
		return "", err
	}
	return "the control plane still has it, in the form " + held, nil
}

// heldVersion is the version in which stores have a resource, "" when none has it.
func heldVersion(states []configstore.State, name string) (string, error) {
	held := ""
	if name == meshResource {
		for _, st := range states {
			held = max(held, st.MeshVersion)
		}
		return held, nil
	}
	parts := strings.Split(name, "/")
	if len(parts) != 3 {
		return "", fmt.Errorf("%q is not KIND/NAMESPACE/NAME", name)
	}
	kind := schema.ByResource(parts[0])
	if kind == nil {
		return "", fmt.Errorf("%q: there is no kind %q", name, parts[0])
	}
	for _, st := range states {
		if o := st.Objects[config.Key{Kind: kind, Namespace: parts[1], Name: parts[2]}]; o != nil {
			return o.ResourceVersion, nil
		}
	}
	return "", nil
}

// behind lists the proxies that do not serve a version.
func (s *Server) behind(version uint64, now time.Time) distributionJSON {
	out := distributionJSON{Version: version}
	for _, p := range s.opts.XDS.Status() {
		out.Proxies = append(out.Proxies, proxyName(p))
		lag, behind := p.Lag(version)
		if !behind {
			continue
		}
		j := behindJSON{Proxy: proxyName(p), Why: "it is being sent what came before", Refused: lag.Refusal != ""}
		switch {
		case lag.Refusal != "":
			j.Why = fmt.Sprintf("it has refused %s: %s", shownType(lag.TypeURL), lag.Refusal)
		case lag.TypeURL != "":
			j.Why = fmt.Sprintf("it has not answered for %s for %v", shownType(lag.TypeURL), now.Sub(lag.SentAt).Round(time.Millisecond))
		}
		out.Behind = append(out.Behind, j)
	}
	return out
}

// shownType is a type as the columns of proxy-status call it, others by their message's name.
func shownType(url string) string {
	for _, t := range shownTypes {
		if t.url == url {
			return t.name
		}
	}
	return url[strings.LastIndexByte(url, '.')+1:]
}

// servedVersionsJSON has the keys of Istio's SyncedVersions: the version of an object that a proxy serves, by the type of resource; a type is left out
// while it is not known that the proxy serves the version in force.
type servedVersionsJSON struct {
	Proxy    string `json:"proxy,omitempty"`
	Cluster  string `json:"cluster_acked,omitempty"`
	Listener string `json:"listener_acked,omitempty"`
	Route    string `json:"route_acked,omitempty"`
	Endpoint string `json:"endpoint_acked,omitempty"`
}

// configDistribution answers ?resource=KIND[.GROUP]/NAMESPACE/NAME with what each proxy serves of an object.
func (s *Server) configDistribution(w http.ResponseWriter, r *http.Request) {
	resource := r.URL.Query().Get("resource")
	if resource == "" {
		http.Error(w, "say which object: ?resource=KIND/NAMESPACE/NAME", http.StatusUnprocessableEntity)
		return
	}
	proxies := s.opts.XDS.Status() // before the object is looked for: what they have is then not newer than it
	held, view := "", uint64(0)
	for _, store := range s.opts.Stores {
		state := store.Store.State()
		version, err := heldVersion([]configstore.State{state}, resource)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if version == "" {
			continue
		}
		at, ok := s.opts.TakenIn(store.Name, state.Number)
		if held = version; ok {
			view = at
		}
		break
	}
	if held == "" {
		http.Error(w, fmt.Sprintf("there is no %s", resource), http.StatusNotFound)
		return
	}
	out := []servedVersionsJSON{}
	for _, p := range proxies {
		j := servedVersionsJSON{Proxy: proxyName(p)}
		for url, to := range map[string]*string{
			xdsserver.TypeCluster: &j.Cluster, xdsserver.TypeListener: &j.Listener, xdsserver.TypeRoute: &j.Route, xdsserver.TypeEndpoint: &j.Endpoint,
		} {
			t := p.Type(url)
			behind := t.RefusedIn >= view || t.Owed != 0 && t.Owed <= view || p.Served < view
			if view > 0 && t.State != xdsserver.NotSent && !behind {
				*to = held
			}
		}
		out = append(out, j)
	}
	writeJSON(w, out)
}
