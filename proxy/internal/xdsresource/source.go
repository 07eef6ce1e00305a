package xdsresource

import (
	"os"
	"strings"

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
}

// ADS reports whether the source is the ADS stream.
func (c ConfigSource) ADS() bool { return c.Path == "" && c.Cluster == "" }

// filePrefix marks files among the names that SecretSource returns; it is no cluster's name
// in practice, and one that has it would only fail to be found.
const filePrefix = "file:"

// SecretSource is the source as one string, the form in which secrets name it (SDSCluster):
// "" for ADS, a cluster, or a file.
func (c ConfigSource) SecretSource() string {
	if c.Path == "" {
		return c.Cluster
	}
	return filePrefix + c.Path + "\x00" + c.WatchedDirectory
}

// SourceOfSecret is the opposite of SecretSource.
func SourceOfSecret(s string) ConfigSource {
	if file, ok := strings.CutPrefix(s, filePrefix); ok {
		path, dir, _ := strings.Cut(file, "\x00")
		return ConfigSource{Path: path, WatchedDirectory: dir}
	}
	return ConfigSource{Cluster: s}
}

// ConfigSource reads a config source outside of any resource.
func (d *Decoder) ConfigSource(m *corev3.ConfigSource) (ConfigSource, error) {
	p := &parser{dec: d}
	p.check("", m)
	out := p.configSource("", m)
	return out, p.finish("config source", "")
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
	out.Cluster = svc[0].GetEnvoyGrpc().GetClusterName()
	return out
}
