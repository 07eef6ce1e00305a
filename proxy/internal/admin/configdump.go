package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lateen-mesh/lateen/pkg/redact"
	"github.com/lateen-mesh/lateen/proxy/internal/server"
)

// configDump serves /config_dump: every type, or ?resource=FIELD for one list of one type,
// ?name_regex= to select by name, ?include_eds to add endpoints.
func (a *Admin) configDump(w http.ResponseWriter, r *http.Request) {
	v, ok := a.server.View()
	if !ok {
		http.Error(w, "the proxy is shutting down", http.StatusServiceUnavailable)
		return
	}
	q := r.URL.Query()
	nameRE, err := nameFilter(q)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if q.Has("mask") {
		http.Error(w, "mask is not supported; use resource and name_regex", http.StatusBadRequest)
		return
	}
	d := dumper{view: v, keep: nameRE}
	var configs []proto.Message
	if field := q.Get("resource"); field != "" {
		if configs, ok = d.resource(field, a.server); !ok {
			http.Error(w, fmt.Sprintf("%s not found in config dump", field), http.StatusNotFound)
			return
		}
	} else {
		configs = append(configs, d.bootstrap(a.server), d.clusters())
		if len(v.Extensions) > 0 {
			configs = append(configs, d.extensions())
		}
		if q.Has("include_eds") {
			configs = append(configs, d.endpoints())
		}
		configs = append(configs, d.listeners(), d.scopes(), d.routes(), d.secrets())
	}
	out := &adminv3.ConfigDump{}
	for _, m := range configs {
		packed, err := anypb.New(m)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if packed, err = redact.Headers(packed); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		out.Configs = append(out.Configs, packed)
	}
	a.writeProto(w, out)
}

// writeProto answers with a message as Envoy writes JSON: snake_case names, indented, without
// fields that have their default.
func (a *Admin) writeProto(w http.ResponseWriter, m proto.Message) { a.writeJSON(w, m, false) }

// writeJSON is writeProto; defaults says whether fields that have their default are written.
func (a *Admin) writeJSON(w http.ResponseWriter, m proto.Message, defaults bool) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true, Multiline: true, Indent: " ", EmitDefaultValues: defaults}.Marshal(m)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(raw) // a reader that is gone needs no answer
	_, _ = w.Write([]byte("\n"))
}

// dumper builds the parts of a dump.
type dumper struct {
	view server.View
	keep func(name string) bool
}

func (d dumper) bootstrap(s *server.Server) *adminv3.BootstrapConfigDump {
	return &adminv3.BootstrapConfigDump{Bootstrap: s.Bootstrap().Proto(), LastUpdated: timestamppb.New(d.view.Started.Truncate(time.Millisecond))}
}

func (d dumper) clusters() *adminv3.ClustersConfigDump {
	out := &adminv3.ClustersConfigDump{VersionInfo: d.view.ClusterVersion}
	for _, r := range d.view.Clusters {
		switch {
		case !d.keep(r.Name):
		case r.Static:
			out.StaticClusters = append(out.StaticClusters, &adminv3.ClustersConfigDump_StaticCluster{
				Cluster: r.Raw, LastUpdated: updated(r),
			})
		default:
			dc := &adminv3.ClustersConfigDump_DynamicCluster{
				VersionInfo: r.Version, Cluster: r.Raw, LastUpdated: updated(r), ErrorState: failure(r), ClientStatus: status(r),
			}
			if r.State == server.Active {
				out.DynamicActiveClusters = append(out.DynamicActiveClusters, dc)
			} else {
				out.DynamicWarmingClusters = append(out.DynamicWarmingClusters, dc)
			}
		}
	}
	return out
}

func (d dumper) extensions() *adminv3.EcdsConfigDump {
	out := &adminv3.EcdsConfigDump{}
	for _, r := range d.view.Extensions {
		if d.keep(r.Name) {
			out.EcdsFilters = append(out.EcdsFilters, &adminv3.EcdsConfigDump_EcdsFilterConfig{
				VersionInfo: r.Version, EcdsFilter: r.Raw, LastUpdated: updated(r), ErrorState: failure(r), ClientStatus: status(r),
			})
		}
	}
	return out
}

func (d dumper) endpoints() *adminv3.EndpointsConfigDump {
	out := &adminv3.EndpointsConfigDump{}
	for _, r := range d.view.Endpoints {
		if !d.keep(r.Name) {
			continue
		}
		out.DynamicEndpointConfigs = append(out.DynamicEndpointConfigs, &adminv3.EndpointsConfigDump_DynamicEndpointConfig{
			VersionInfo: r.Version, EndpointConfig: r.Raw, LastUpdated: updated(r), ErrorState: failure(r), ClientStatus: status(r),
		})
	}
	return out
}

func (d dumper) listeners() *adminv3.ListenersConfigDump {
	out := &adminv3.ListenersConfigDump{VersionInfo: d.view.ListenerVersion}
	// The states of one listener stand together: active, and what is to replace it.
	dynamic := map[string]*adminv3.ListenersConfigDump_DynamicListener{}
	for _, r := range d.view.Listeners {
		if !d.keep(r.Name) {
			continue
		}
		if r.Static {
			out.StaticListeners = append(out.StaticListeners, &adminv3.ListenersConfigDump_StaticListener{
				Listener: r.Raw, LastUpdated: updated(r),
			})
			continue
		}
		dl := dynamic[r.Name]
		if dl == nil {
			dl = &adminv3.ListenersConfigDump_DynamicListener{Name: r.Name}
			dynamic[r.Name] = dl
			out.DynamicListeners = append(out.DynamicListeners, dl)
		}
		if r.Error != nil {
			dl.ErrorState = failure(r)
		}
		dl.ClientStatus = status(r)
		if r.Raw == nil {
			continue
		}
		st := &adminv3.ListenersConfigDump_DynamicListenerState{VersionInfo: r.Version, Listener: r.Raw, LastUpdated: updated(r)}
		switch r.State {
		case server.Active:
			dl.ActiveState = st
		case server.Warming:
			dl.WarmingState = st
		case server.Draining:
			dl.DrainingState = st
		}
	}
	return out
}

// resource serves ?resource=: the elements of one repeated field, each its own entry.
func (d dumper) resource(field string, s *server.Server) ([]proto.Message, bool) {
	dumps := []proto.Message{d.bootstrap(s), d.clusters(), d.extensions(), d.endpoints(), d.listeners(), d.scopes(), d.routes(), d.secrets()}
	for _, m := range dumps {
		fd := m.ProtoReflect().Descriptor().Fields().ByName(protoName(field))
		if fd == nil {
			continue
		}
		var out []proto.Message
		switch {
		case fd.IsList() && fd.Message() != nil:
			list := m.ProtoReflect().Get(fd).List()
			for i := range list.Len() {
				out = append(out, list.Get(i).Message().Interface())
			}
		case fd.Message() != nil && field == "bootstrap":
			out = append(out, m)
		default:
			return nil, false
		}
		return out, true
	}
	return nil, false
}

func updated(r server.Record) *timestamppb.Timestamp {
	if r.Updated.IsZero() {
		return nil
	}
	return timestamppb.New(r.Updated.Truncate(time.Millisecond))
}

func failure(r server.Record) *adminv3.UpdateFailureState {
	if r.Error == nil {
		return nil
	}
	f := &adminv3.UpdateFailureState{
		LastUpdateAttempt: timestamppb.New(r.Error.Time), Details: r.Error.Details, VersionInfo: r.Error.Version,
	}
	// Bytes of a type that this program does not link cannot be shown as JSON.
	if raw := r.Error.Raw; raw != nil {
		if _, err := raw.UnmarshalNew(); err == nil && printable(raw) {
			f.FailedConfiguration = raw
		}
	}
	return f
}

// printable reports whether a refused resource can be rendered: it may hold types that this
// program does not link, which is why it was refused.
func printable(raw *anypb.Any) bool {
	_, err := protojson.Marshal(raw)
	return err == nil
}

func status(r server.Record) adminv3.ClientResourceStatus {
	switch {
	case r.Error != nil:
		return adminv3.ClientResourceStatus_NACKED
	case r.State == server.Warming && r.Raw == nil:
		return adminv3.ClientResourceStatus_REQUESTED
	}
	return adminv3.ClientResourceStatus_ACKED
}

// initDump serves /init_dump: what is not warm yet, and so holds the proxy from being ready.
func (a *Admin) initDump(w http.ResponseWriter, r *http.Request) {
	v, ok := a.server.View()
	if !ok {
		http.Error(w, "the proxy is shutting down", http.StatusServiceUnavailable)
		return
	}
	out := &adminv3.UnreadyTargetsDumps{}
	add := func(kind string, rs []server.Record) {
		d := &adminv3.UnreadyTargetsDumps_UnreadyTargetsDump{Name: kind}
		for _, rec := range rs {
			if rec.State == server.Warming {
				d.TargetNames = append(d.TargetNames, rec.Name)
			}
		}
		if len(d.TargetNames) > 0 {
			out.UnreadyTargetsDumps = append(out.UnreadyTargetsDumps, d)
		}
	}
	add("clusters", v.Clusters)
	add("listeners", v.Listeners)
	a.writeProto(w, out)
}

// names of the fields that ?resource= takes, for the help page.
var resourceFields = []string{
	"bootstrap", "static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters", "static_listeners", "dynamic_listeners",
	"ecds_filters", "inline_scoped_route_configs", "dynamic_scoped_route_configs",
	"static_route_configs", "dynamic_route_configs", "static_secrets", "dynamic_active_secrets", "dynamic_warming_secrets",
	"dynamic_endpoint_configs",
}

func nameFilter(q url.Values) (func(string) bool, error) {
	re := q.Get("name_regex")
	if re == "" {
		return func(string) bool { return true }, nil
	}
	c, err := compileFull(re)
	if err != nil {
		return nil, fmt.Errorf("name_regex: %w", err)
	}
	return c.MatchString, nil
}
