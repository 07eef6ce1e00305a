package proxycmd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/proxy"
)

// flags are Envoy's (https://www.envoyproxy.io/docs/envoy/latest/operations/cli).
type flags struct {
	footprint *proxy.Footprint // of the process, taken before anything runs

	path, yaml, mode                                                           string
	node, cluster, zone                                                        string
	level, components, logFormat, logPath, adminPath                           string
	socketPath, baseIDPath                                                     string
	drainStrategy                                                              string
	statsTags                                                                  []string
	concurrency, drain, flush, flushKB                                         int
	baseID, epoch                                                              uint32
	hotRestart                                                                 bool // one of the flags for it was given
	parentShutdown                                                             int
	dynamicBaseID, noHotRestart, skipNoParent, skipParentStats, restartVersion bool
	logEscaped                                                                 bool
	allowStatic, allowUnknown, rejectDyn, ignoreDyn                            bool
}

func (f *flags) register(s *pflag.FlagSet) {
	s.StringVarP(&f.path, "config-path", "c", "", "bootstrap file, YAML or JSON")
	s.StringVar(&f.yaml, "config-yaml", "", "bootstrap as text; merged over --config-path")
	s.StringVar(&f.mode, "mode", "serve", "serve; validate: judge the configuration and exit; init_only: start, and exit when ready")
	s.StringVar(&f.node, "service-node", "", "node id, replaces node.id of the bootstrap")
	s.StringVar(&f.cluster, "service-cluster", "", "node cluster, replaces node.cluster of the bootstrap")
	s.StringVar(&f.zone, "service-zone", "", "zone, replaces node.locality.zone of the bootstrap")
	s.StringVarP(&f.level, "log-level", "l", "info", "trace, debug, info, warning, error, critical or off")
	s.StringVar(&f.components, "component-log-level", "", "levels of single components: upstream:debug,http:trace")
	s.StringVar(&f.logFormat, "log-format", "", "form of log lines, in spdlog's conversions (default: key=value text)")
	s.BoolVar(&f.logEscaped, "log-format-escaped", false, "with --log-format: escape what is not printable in messages")
	s.StringVar(&f.logPath, "log-path", "", "log file, opened anew at SIGUSR1 (default: standard error)")
	s.StringVar(&f.adminPath, "admin-address-path", "", "file to write the admin API's address to")
	s.IntVar(&f.concurrency, "concurrency", 0, "number of workers (default: one for each core)")
	s.IntVar(&f.drain, "drain-time-s", 600, "seconds that connections of a replaced listener may take to end")
	s.IntVar(&f.flush, "file-flush-interval-msec", 1000, "milliseconds that a line of an access log may wait in memory")
	s.IntVar(&f.flushKB, "file-flush-min-size-kb", 64, "KiB of access-log lines that are written at once, 1 to 2048")
	s.StringVar(&f.drainStrategy, "drain-strategy", "gradual", "gradual: connections are asked to end over the drain time; immediate: at once")
	s.Uint32Var(&f.baseID, "base-id", 0, "tells apart proxies on one machine, for a hot restart")
	s.BoolVar(&f.dynamicBaseID, "use-dynamic-base-id", false, "choose a base id that no other proxy has")
	s.StringVar(&f.baseIDPath, "base-id-path", "", "file to write the base id to")
	s.Uint32Var(&f.epoch, "restart-epoch", 0, "take the sockets over from the process of the epoch before")
	s.BoolVar(&f.noHotRestart, "disable-hot-restart", false, "let no process take the sockets over")
	s.IntVar(&f.parentShutdown, "parent-shutdown-time-s", 900, "seconds after which the process of the epoch before is ended")
	s.StringVar(&f.socketPath, "socket-path", "@lateen_domain_socket", "what the names of hot restart sockets begin with; @ is the abstract namespace")
	s.BoolVar(&f.skipNoParent, "skip-hot-restart-on-no-parent", false, "start anew when there is no process to take over from")
	s.BoolVar(&f.skipParentStats, "skip-hot-restart-parent-stats", false, "do not add the counters of the process before")
	s.BoolVar(&f.restartVersion, "hot-restart-version", false, "print the version of the hand-over and exit")
	s.StringArrayVar(&f.statsTags, "stats-tag", nil, "NAME:VALUE, a tag of all statistics; may be repeated")
	s.BoolVar(&f.allowStatic, "allow-unknown-static-fields", false, "leave unknown fields of the bootstrap out, with a warning for each")
	s.BoolVar(&f.allowUnknown, "allow-unknown-fields", false, "the same, under its older name")
	s.BoolVar(&f.rejectDyn, "reject-unknown-dynamic-fields", false, "refuse xDS resources with unknown fields; they always are, unless --ignore-unknown-dynamic-fields is given")
	s.BoolVar(&f.ignoreDyn, "ignore-unknown-dynamic-fields", false, "leave unknown fields of xDS resources out")
}

// withoutMeaning are flags of Envoy that steer parts which this proxy does not have. They are taken,
// so that a command line can be kept, and named in one line of the log.
var withoutMeaning = []struct{ name, why string }{
	{"enable-mutex-tracing", "the Go runtime profiles locks itself"},
	{"enable-core-dump", "set GOTRACEBACK=crash and the shell's limit instead"},
	{"cpuset-threads", "the number of workers follows the CPU set without it"},
	{"log-stacktrace-single-entry", "a stack trace is one entry always"},
	{"skip-deprecated-logs", "deprecated fields are not logged"},
	{"socket-mode", "sockets in the abstract namespace have none, and only the same user may use them"},
	{"local-address-ip-version", "the node's address is taken from its metadata"},
}

// refused are flags of Envoy that ask for something that would be missed.
var refused = []struct{ name, why string }{
	{"enable-fine-grain-logging", "levels are kept for each component, not for each file: use --component-log-level"},
	{"disable-extensions", "extensions cannot be left out"},
}

func (f *flags) registerOthers(s *pflag.FlagSet) {
	for _, x := range withoutMeaning {
		s.String(x.name, "", "accepted for Envoy's sake: "+x.why)
		if x.name != "local-address-ip-version" && x.name != "socket-mode" {
			s.Lookup(x.name).NoOptDefVal = "true"
		}
		_ = s.MarkHidden(x.name) // it was registered a line above
	}
	for _, x := range refused {
		s.String(x.name, "", "not supported: "+x.why)
		if x.name == "enable-fine-grain-logging" {
			s.Lookup(x.name).NoOptDefVal = "true"
		}
		_ = s.MarkHidden(x.name)
	}
}

// ineffective lists the flags that were given without effect; the error is for one that is refused.
func ineffective(cmd *cobra.Command) (names []string, err error) {
	for _, x := range refused {
		if cmd.Flags().Changed(x.name) {
			return nil, fmt.Errorf("--%s is not supported: %s", x.name, x.why)
		}
	}
	for _, x := range withoutMeaning {
		if cmd.Flags().Changed(x.name) {
			names = append(names, "--"+x.name)
		}
	}
	return names, nil
}

func (f *flags) config() (proxy.Config, error) {
	cfg := proxy.Config{
		Overlay: []byte(f.yaml), Concurrency: f.concurrency, LogLevel: f.level, ComponentLogLevels: f.components,
		ServiceNode: f.node, ServiceCluster: f.cluster, ServiceZone: f.zone, DrainTime: time.Duration(f.drain) * time.Second,
		FileFlushInterval: time.Duration(f.flush) * time.Millisecond, FileFlushSize: f.flushKB << 10,
		ConfigPath: f.path, AdminAddressPath: f.adminPath, Footprint: f.footprint,
		AllowUnknownStatic: f.allowStatic || f.allowUnknown, IgnoreUnknownDynamic: f.ignoreDyn,
	}
	switch {
	case f.concurrency < 0:
		return cfg, fmt.Errorf("--concurrency %d: the number of workers cannot be negative", f.concurrency)
	case f.drain <= 0:
		return cfg, fmt.Errorf("--drain-time-s %d: must be at least 1", f.drain)
	case f.flush <= 0:
		return cfg, fmt.Errorf("--file-flush-interval-msec %d: must be at least 1", f.flush)
	case f.flushKB <= 0 || f.flushKB > 2048:
		return cfg, fmt.Errorf("--file-flush-min-size-kb %d: must be 1 to 2048", f.flushKB)
	case f.rejectDyn && f.ignoreDyn:
		return cfg, fmt.Errorf("--reject-unknown-dynamic-fields and --ignore-unknown-dynamic-fields exclude each other")
	}
	if !f.noHotRestart && f.hotRestart {
		cfg.HotRestart = &proxy.HotRestart{
			BaseID: f.baseID, Epoch: f.epoch, SocketPath: f.socketPath, ParentShutdownTime: time.Duration(f.parentShutdown) * time.Second,
			SkipNoParent: f.skipNoParent, SkipParentStats: f.skipParentStats,
		}
	}
	switch {
	case f.parentShutdown <= 0:
		return cfg, fmt.Errorf("--parent-shutdown-time-s %d: must be at least 1", f.parentShutdown)
	case f.dynamicBaseID && f.epoch > 0:
		return cfg, fmt.Errorf("--use-dynamic-base-id is for the first process: with --restart-epoch give the --base-id that it has")
	case f.noHotRestart && f.epoch > 0:
		return cfg, fmt.Errorf("--restart-epoch %d needs a hot restart, which --disable-hot-restart forbids", f.epoch)
	}
	switch f.drainStrategy {
	case "gradual":
	case "immediate":
		cfg.DrainImmediately = true
	default:
		return cfg, fmt.Errorf("--drain-strategy %q is not known: use gradual or immediate", f.drainStrategy)
	}
	seen := map[string]bool{}
	for _, t := range f.statsTags {
		name, value, ok := strings.Cut(t, ":")
		if !ok || name == "" || strings.Contains(value, ".") {
			return cfg, fmt.Errorf("--stats-tag %q: want NAME:VALUE, with no dot in the value", t)
		}
		if seen[name] {
			return cfg, fmt.Errorf("--stats-tag %q: the tag is given twice", name)
		}
		seen[name] = true
		cfg.StatsTags = append(cfg.StatsTags, proxy.StatsTag{Name: name, Value: value})
	}
	if f.path != "" {
		raw, err := os.ReadFile(f.path)
		if err != nil {
			return cfg, fmt.Errorf("-c: %w", err)
		}
		cfg.Bootstrap = raw
	}
	return cfg, nil
}

// chooseBaseID draws one, if it is asked for, and writes down which it is. That no other process has
// it shows when the socket is opened.
func (f *flags) chooseBaseID() error {
	if f.dynamicBaseID {
		f.baseID = rand.Uint32()
	}
	if f.baseIDPath == "" {
		return nil
	}
	if err := os.WriteFile(f.baseIDPath, []byte(strconv.FormatUint(uint64(f.baseID), 10)), 0o644); err != nil {
		return fmt.Errorf("--base-id-path: %w", err)
	}
	return nil
}
