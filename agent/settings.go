package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	bootstrappb "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// settingsWait is how long the start of a proxy waits for the control plane's word on it. Istio's control plane has none.
const settingsWait = 3 * time.Second

// groupMetadata names the WorkloadGroup in the node of the agent's question, which must not register the workload: it has no proxy yet.
const groupMetadata = "LATEEN_GROUP"

// settings are what the mesh says of how the proxy is run: the ProxyConfig objects that concern the workload, over the mesh's defaultConfig.
type settings struct {
	concurrency int               // 0: not said, or one for each CPU
	variables   map[string]string // of the agent's environment
	// Of Config; 0: not said.
	drain, terminationDrain, flush time.Duration
	flushKB                        uint64
	adminPort, statusPort          uint64
	cluster                        string
	clusterRule                    ClusterRule
	compression                    *bool // nil: not said
	bootstrapFile                  string
	// patch is what EnvoyFilters merge into the proxy's bootstrap.
	patch *bootstrappb.Bootstrap
}

// withSettings asks the control plane how the proxy is to be run. What the host itself says wins. Later changes take effect with the
// agent's next start, as in Istio.
func (c Config) withSettings(ctx context.Context, s *secrets) Config {
	ctx, cancel := context.WithTimeout(ctx, settingsWait)
	defer cancel()
	told, err := askSettings(ctx, c, s)
	if err != nil {
		c.Logger.Info("the control plane does not say how to run the proxy", "error", err)
		return c
	}
	return c.apply(told)
}

func (c Config) apply(told settings) Config {
	c.patch = told.patch
	setDefault(&c.Concurrency, told.concurrency)
	setDefault(&c.DrainTime, told.drain)
	setDefault(&c.TerminationDrain, told.terminationDrain)
	setDefault(&c.FileFlushInterval, told.flush)
	setDefault(&c.FileFlushSize, int(told.flushKB<<10))
	setDefault(&c.AdminPort, uint16(told.adminPort))
	setDefault(&c.StatusPort, uint16(told.statusPort))
	setDefault(&c.StatsCompression, told.compression)
	setDefault(&c.BootstrapFile, told.bootstrapFile)
	if c.Cluster == "" && c.ClusterRule == ClusterByDefault {
		c.Cluster, c.ClusterRule = told.cluster, told.clusterRule
	}
	if len(told.variables) == 0 {
		return c
	}
	for _, name := range slices.Sorted(maps.Keys(told.variables)) {
		if !hasEffect(name) {
			c.Logger.Warn("a variable of the mesh's ProxyConfig has no effect: only ISTIO_META_, ISTIO_METAJSON_ and ISTIO_DUAL_STACK have one here", "name", name)
		}
	}
	more, err := MetadataOf(told.variables)
	if err != nil {
		c.Logger.Warn("variables of the mesh's ProxyConfig have no effect", "error", err)
		return c
	}
	maps.Copy(more, c.Metadata)
	c.Metadata = more
	return c
}

// askSettings asks once, on a stream of its own.
func askSettings(ctx context.Context, cfg Config, s *secrets) (settings, error) {
	asks := cfg
	if cfg.Group != "" {
		asks.Metadata = map[string]any{}
		maps.Copy(asks.Metadata, cfg.Metadata)
		delete(asks.Metadata, "AUTO_REGISTER_GROUP")
		asks.Metadata[groupMetadata] = cfg.Group
	}
	asks.Group = ""
	node, err := asks.node()
	if err != nil {
		return settings{}, err
	}
	ads, conn, err := openStream(ctx, cfg, s)
	if err != nil {
		return settings{}, err
	}
	defer conn.Close()
	if err := ads.Send(&discoverypb.DiscoveryRequest{Node: node, TypeUrl: proxyConfigType}); err != nil {
		_, err = ads.Recv() // which knows why
		return settings{}, err
	}
	resp, err := ads.Recv()
	if err != nil {
		return settings{}, err
	}
	var out settings
	if list := resp.GetResources(); len(list) > 0 {
		if out, err = readSettings(list[0].GetValue()); err != nil {
			return settings{}, err
		}
		// Known before the proxy begins, so that its first connections are judged by them.
		bundle, err := trustBundle(list[0].GetValue())
		if err != nil {
			return settings{}, err
		}
		s.trust(bundle)
	}
	if out.patch, err = askPatch(ads); err != nil {
		cfg.Logger.Info("the control plane does not say what is to be merged into the proxy's bootstrap", "error", err)
	}
	return out, nil
}

// bootstrapPatches is the name by which the control plane has what EnvoyFilters merge into a bootstrap.
const bootstrapPatches = "patches"

var errWholeBootstrap = errors.New("it answers with a whole bootstrap")

// askPatch asks what is to be merged into the proxy's bootstrap; nil for nothing. Istio's control plane would make the whole bootstrap, by another's idea of this
// host: that is not taken.
func askPatch(ads discoverypb.AggregatedDiscoveryService_StreamAggregatedResourcesClient) (*bootstrappb.Bootstrap, error) {
	if err := ads.Send(&discoverypb.DiscoveryRequest{TypeUrl: bootstrapType, ResourceNames: []string{bootstrapPatches}}); err != nil {
		return nil, err
	}
	resp, err := ads.Recv()
	if err != nil {
		return nil, err
	}
	out := &bootstrappb.Bootstrap{}
	if list := resp.GetResources(); len(list) > 0 {
		if err := list[0].UnmarshalTo(out); err != nil {
			return nil, err
		}
	}
	switch {
	case out.GetNode() != nil:
		return nil, errWholeBootstrap
	case proto.Size(out) == 0:
		return nil, nil
	}
	return out, nil
}

// The field numbers of istio.mesh.v1alpha1.ProxyConfig, which is read by hand so that the proxy's program need not carry all of Istio's types.
const (
	clusterField          = 3
	drainField            = 4 // google.protobuf.Duration
	adminPortField        = 11
	bootstrapFileField    = 14
	concurrencyField      = 16 // google.protobuf.Int32Value
	proxyMetadataField    = 24 // map<string, string>
	statusPortField       = 26
	terminationDrainField = 29 // google.protobuf.Duration
	clusterRuleField      = 36 // of one oneof with clusterField
	flushIntervalField    = 40 // google.protobuf.Duration
	flushSizeField        = 41 // KiB
	compressionField      = 42 // google.protobuf.BoolValue
)

// Bounds of what a mesh may ask for.
const (
	maxConcurrency = 1024
	maxDuration    = 24 * time.Hour
	maxFlushKB     = 2048
	maxCluster     = 1024 // bytes
	maxPath        = 4096 // bytes
)

var errSettings = errors.New("ProxyConfig: not valid")

// readSettings reads a serialised ProxyConfig.
func readSettings(b []byte) (settings, error) {
	out := settings{variables: map[string]string{}}
	err := eachField(b, func(n protowire.Number, text []byte, number uint64) (err error) {
		switch n {
		case clusterField:
			if out.cluster, out.clusterRule = string(text), ClusterByDefault; len(text) > maxCluster || strings.ContainsFunc(out.cluster, unicode.IsControl) {
				err = fmt.Errorf("%w: service_cluster: want up to %d bytes and no control characters", errSettings, maxCluster)
			}
		case clusterRuleField:
			if out.cluster, out.clusterRule = "", ClusterRule(number+1); number >= uint64(clusterRules) {
				err = fmt.Errorf("%w: tracing_service_name %d is not known", errSettings, int32(number))
			}
		case drainField:
			out.drain, err = readDuration("drain_duration", text)
		case terminationDrainField:
			out.terminationDrain, err = readDuration("termination_drain_duration", text)
		case flushIntervalField:
			out.flush, err = readDuration("file_flush_interval", text)
		case flushSizeField:
			if out.flushKB = number; number > maxFlushKB {
				err = fmt.Errorf("%w: file_flush_min_size_kb %d: want 0 to %d", errSettings, number, maxFlushKB)
			}
		case adminPortField:
			if out.adminPort = number; number > math.MaxUint16 {
				err = fmt.Errorf("%w: proxy_admin_port %d: want 0 to 65535", errSettings, int32(number))
			}
		case statusPortField:
			if out.statusPort = number; number > math.MaxUint16 {
				err = fmt.Errorf("%w: status_port %d: want 0 to 65535", errSettings, int32(number))
			}
		case bootstrapFileField:
			if out.bootstrapFile = string(text); len(text) > maxPath || strings.ContainsFunc(out.bootstrapFile, unicode.IsControl) {
				err = fmt.Errorf("%w: custom_config_file: want up to %d bytes and no control characters", errSettings, maxPath)
			}
		case compressionField:
			out.compression = new(bool)
			return eachField(text, func(n protowire.Number, _ []byte, number uint64) error {
				if n == 1 {
					*out.compression = number != 0
				}
				return nil
			})
		case concurrencyField:
			return eachField(text, func(n protowire.Number, _ []byte, number uint64) error {
				if n == 1 && number > maxConcurrency {
					return fmt.Errorf("%w: concurrency %d: want 0 to %d", errSettings, int32(number), maxConcurrency)
				} else if n == 1 {
					out.concurrency = int(number)
				}
				return nil
			})
		case proxyMetadataField:
			var name, value string
			if name, value, err = readVariable(text); err == nil {
				out.variables[name] = value
			}
		}
		return err
	})
	return out, err
}

// readVariable reads an entry of proxy_metadata.
func readVariable(b []byte) (name, value string, err error) {
	var entry [3]string
	err = eachField(b, func(n protowire.Number, text []byte, _ uint64) error {
		if n == 1 || n == 2 {
			entry[n] = string(text)
		}
		return nil
	})
	return entry[1], entry[2], err
}

// readMerge reads from a serialised ProxyConfig whether the application's metrics are merged.
func readMerge(b []byte) (bool, error) {
	on := true
	err := eachField(b, func(n protowire.Number, text []byte, _ uint64) error {
		if n != proxyMetadataField {
			return nil
		}
		name, value, err := readVariable(text)
		if name == metaPrefix+mergeMetadata {
			on = !strings.EqualFold(value, "false")
		}
		return err
	})
	return on, err
}

// readDuration reads a serialised google.protobuf.Duration.
func readDuration(field string, b []byte) (time.Duration, error) {
	var parts [3]uint64 // by number: seconds, nanos
	if err := eachField(b, func(n protowire.Number, _ []byte, number uint64) error {
		if n == 1 || n == 2 {
			parts[n] = number
		}
		return nil
	}); err != nil {
		return 0, err
	}
	if parts[1] > uint64(maxDuration/time.Second) || parts[2] >= uint64(time.Second) {
		return 0, fmt.Errorf("%w: %s: want 0 to %v", errSettings, field, maxDuration)
	}
	return time.Duration(parts[1])*time.Second + time.Duration(parts[2]), nil
}

// eachField calls f with each field that is a number or has a length.
func eachField(b []byte, f func(n protowire.Number, text []byte, number uint64) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errSettings
		}
		b = b[size:]
		var text []byte
		var number uint64
		switch kind {
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			text, size = protowire.ConsumeBytes(b)
		default:
			if size = protowire.ConsumeFieldValue(n, kind, b); size >= 0 {
				b = b[size:]
				continue
			}
		}
		if size < 0 {
			return errSettings
		}
		b = b[size:]
		if err := f(n, text, number); err != nil {
			return err
		}
	}
	return nil
}
