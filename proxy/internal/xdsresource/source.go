package xdsresource

import (
	"encoding/json"
	"os"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// ConfigSource says where resources come from. It is comparable; the zero value is the ADS
// stream of the bootstrap. At most one of Path and Cluster is set.
type ConfigSource struct {
	// Path is a file that holds a DiscoveryResponse.
	Path string
	// WatchedDirectory is the directory in which a move makes the file be read again; empty:
	// only a move onto the file itself does.
	WatchedDirectory string
	// Cluster is a cluster of the bootstrap that serves the type's own gRPC service.
	Cluster string
	// Delta selects the incremental protocol of that service.
	Delta bool
	// Call is how that service is called.
	Call GRPCCall
}

// ADS reports whether the source is the ADS stream.
func (c ConfigSource) ADS() bool { return c.Path == "" && c.Cluster == "" }

// filePrefix and callPrefix mark sources of more than a cluster's name among what SecretSource
// returns; they begin no cluster's name in practice, and one that has them would only fail to be found.
const (
	filePrefix = "file:"
	callPrefix = "grpc:"
)

// SecretSource is the source as one string, the form in which secrets name it (SDSCluster):
// "" for ADS, a cluster, a file, or all of it.
func (c ConfigSource) SecretSource() string {
	if c.Path != "" {
		return filePrefix + c.Path + "\x00" + c.WatchedDirectory
	}
	if c == (ConfigSource{Cluster: c.Cluster}) {
		return c.Cluster
	}
	text, err := json.Marshal(c)
	if err != nil {
		panic("BUG: xdsresource: a config source that is no JSON: " + err.Error())
	}
	return callPrefix + string(text)
}

// SourceOfSecret is the opposite of SecretSource.
func SourceOfSecret(s string) ConfigSource {
	if file, ok := strings.CutPrefix(s, filePrefix); ok {
		path, dir, _ := strings.Cut(file, "\x00")
		return ConfigSource{Path: path, WatchedDirectory: dir}
	}
	if text, ok := strings.CutPrefix(s, callPrefix); ok {
		var c ConfigSource
		if json.Unmarshal([]byte(text), &c) == nil {
			return c
		}
	}
	return ConfigSource{Cluster: s}
}

// DefaultFetchTimeout is Envoy's default of initial_fetch_timeout.
const DefaultFetchTimeout = 15 * time.Second

// ConfigSource reads a config source outside of any resource, and its initial_fetch_timeout: how long
// who needs a resource waits for the first answer. 0: without end.
func (d *Decoder) ConfigSource(m *corev3.ConfigSource) (src ConfigSource, fetch time.Duration, err error) {
	p := &parser{dec: d}
	p.check("", m)
	src, fetch = p.source("", m)
	return src, fetch, p.finish("config source", "")
}

// source reads a config source with its initial_fetch_timeout.
func (p *parser) source(path string, m *corev3.ConfigSource) (ConfigSource, time.Duration) {
	return p.configSource(path, m), p.duration(join(path, "initial_fetch_timeout"), m.GetInitialFetchTimeout(), DefaultFetchTimeout)
}

// ConfigSource reads a config source within a filter's configuration.
func (r *FilterReader) ConfigSource(path string, m *corev3.ConfigSource) ConfigSource {
	return r.p.configSource(path, m)
}

// configSource reads where a resource comes from. None, ads and self all mean ADS: whatever
// holds the source came from there itself.
func (p *parser) configSource(path string, m *corev3.ConfigSource) ConfigSource {
	switch s := m.GetConfigSourceSpecifier().(type) {
	case nil, *corev3.ConfigSource_Ads, *corev3.ConfigSource_Self:
		return ConfigSource{}
	case *corev3.ConfigSource_Path: //nolint:staticcheck // what files for older Envoys have
		return p.fileSource(join(path, "path"), s.Path, "")
	case *corev3.ConfigSource_PathConfigSource:
		c := s.PathConfigSource
		return p.fileSource(join(path, "path_config_source.path"), c.GetPath(), c.GetWatchedDirectory().GetPath())
	case *corev3.ConfigSource_ApiConfigSource:
		return p.grpcSource(join(path, "api_config_source"), s.ApiConfigSource)
	}
	p.bad(path, "this kind of config source is not supported; use ads, path_config_source or api_config_source")
	return ConfigSource{}
}

// fileSource judges a path. Like Envoy it wants the file to be there: a name that is wrong
// would otherwise show only as a listener that never comes.
func (p *parser) fileSource(path, file, dir string) ConfigSource {
	if _, err := os.Stat(file); err != nil {
		p.bad(path, "the file must exist: %v", err)
	}
	if dir != "" {
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			p.bad(path, "watched_directory: %q is no directory", dir)
		}
	}
	return ConfigSource{Path: file, WatchedDirectory: dir}
}

func (p *parser) grpcSource(path string, m *corev3.ApiConfigSource) ConfigSource {
	out := ConfigSource{}
	switch t := m.GetApiType(); t {
	case corev3.ApiConfigSource_GRPC:
	case corev3.ApiConfigSource_DELTA_GRPC:
		out.Delta = true
	default:
		p.bad(join(path, "api_type"), "%v is not supported here, use GRPC or DELTA_GRPC", t)
	}
	svc := m.GetGrpcServices()
	if len(svc) != 1 || svc[0].GetEnvoyGrpc().GetClusterName() == "" {
		p.bad(join(path, "grpc_services"), "exactly one envoy_grpc service with a cluster_name is supported")
		return out
	}
	out.Cluster, out.Call = svc[0].GetEnvoyGrpc().GetClusterName(), p.controlPlaneCall(join(path, "grpc_services[0]"), svc[0])
	return out
}
