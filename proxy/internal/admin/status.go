package admin

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/pkg/version"
	"github.com/lateen-mesh/lateen/proxy/internal/server"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// serverInfo serves /server_info.
func (a *Admin) serverInfo(w http.ResponseWriter, _ *http.Request) {
	v := version.Get()
	state := adminv3.ServerInfo_LIVE
	switch a.server.State() {
	case server.Initializing:
		state = adminv3.ServerInfo_INITIALIZING
	case server.PreInitializing:
		state = adminv3.ServerInfo_PRE_INITIALIZING
	case server.StateDraining:
		state = adminv3.ServerInfo_DRAINING
	}
	up := durationpb.New(time.Since(a.server.Started()).Truncate(time.Second))
	a.writeJSON(w, &adminv3.ServerInfo{
		Version:            fmt.Sprintf("%s/%s/Lateen/%s/Go", v.Revision, v.Version, runtime.GOARCH),
		State:              state,
		UptimeCurrentEpoch: up,
		UptimeAllEpochs:    up,
		HotRestartVersion:  "disabled",
		CommandLineOptions: &adminv3.CommandLineOptions{
			Concurrency: uint32(a.opts.Concurrency), ConfigPath: a.opts.ConfigPath, ConfigYaml: a.opts.ConfigYAML,
			LogLevel: a.opts.LogLevel, ServiceNode: a.opts.ServiceNode, ServiceCluster: a.opts.ServiceCluster,
		},
		Node: a.server.Bootstrap().Node,
	}, true)
}

// memory serves /memory.
func (a *Admin) memory(w http.ResponseWriter, _ *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	a.writeJSON(w, &adminv3.Memory{
		Allocated: m.HeapAlloc, HeapSize: m.HeapSys, PageheapUnmapped: m.HeapReleased,
		PageheapFree: m.HeapIdle - m.HeapReleased, TotalPhysicalBytes: server.Resident(),
	}, true)
}

// listeners serves /listeners: name and bound address of each.
func (a *Admin) listeners(w http.ResponseWriter, r *http.Request) {
	f, ok := format(w, r, "text", "json")
	if !ok {
		return
	}
	list := a.server.ListenerAddresses()
	if f == "json" {
		out := &adminv3.Listeners{}
		for _, l := range list {
			st := &adminv3.ListenerStatus{Name: l.Name}
			for i, addr := range l.Addresses {
				if i == 0 {
					st.LocalAddress = addressProto(addr)
				} else {
					st.AdditionalLocalAddresses = append(st.AdditionalLocalAddresses, addressProto(addr))
				}
			}
			out.ListenerStatuses = append(out.ListenerStatuses, st)
		}
		a.writeProto(w, out)
		return
	}
	for _, l := range list {
		for _, addr := range l.Addresses {
			fmt.Fprintf(w, "%s::%s\n", l.Name, addressText(addr))
		}
	}
}

func addressText(a xdsresource.Address) string {
	switch {
	case a.Pipe != "":
		return a.Pipe
	case a.IP.Is6():
		return fmt.Sprintf("[%s]:%d", a.IP, a.Port)
	case a.IP.IsValid():
		return fmt.Sprintf("%s:%d", a.IP, a.Port)
	}
	return fmt.Sprintf("%s:%d", a.Host, a.Port)
}

func addressProto(a xdsresource.Address) *corev3.Address {
	if a.Pipe != "" {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: a.Pipe}}}
	}
	host := a.Host
	if a.IP.IsValid() {
		host = a.IP.String()
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port)},
	}}}
}

// joinFlags writes failed health flags as /clusters shows them.
func joinFlags(flags []string) string {
	if len(flags) == 0 {
		return "healthy"
	}
	return "/" + strings.Join(flags, "/")
}
