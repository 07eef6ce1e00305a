package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/cli/internal/proxyconfig"
	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// proxyConfigCommand carries the flags that all sub-commands of proxy-config share.
type proxyConfigCommand struct {
	namespace string
	output    string
	file      string
}

// newProxyConfigCommand is `lateen proxy-config`, with istioctl's sub-commands, targets, flags and tables.
func newProxyConfigCommand() *cobra.Command {
	p := &proxyConfigCommand{}
	cmd := &cobra.Command{
		Use:     "proxy-config",
		Aliases: []string{"pc"},
		Short:   "Show what a proxy is configured with: listeners, routes, clusters, endpoints, secrets, log levels",
		Long: "Show what a proxy is configured with, read from the proxy itself.\n\n" +
			"A proxy is named as POD[.NAMESPACE], pod/POD[.NAMESPACE] or deploy/NAME[.NAMESPACE].",
		Example: "  lateen proxy-config routes deploy/webapp.istioinaction\n" +
			"  lateen pc cluster deploy/istio-ingressgateway.istio-system --fqdn catalog -o json",
	}
	cmd.PersistentFlags().StringVarP(&p.namespace, "namespace", "n", "", "namespace of the proxy (default: the one in the name, else any)")
	cmd.PersistentFlags().StringVarP(&p.output, "output", "o", "short", "json, yaml or short")
	cmd.AddCommand(p.clusters(), p.listeners(), p.routes(), p.endpoints(), p.secrets(), p.bootstrap(), p.log(), p.all())
	return cmd
}

// command makes a sub-command that takes one proxy, or --file with a saved configuration dump.
func (p *proxyConfigCommand) command(use string, aliases []string, short string, run func(cmd *cobra.Command, d *proxyconfig.Dump) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use + " [PROXY]", Aliases: aliases, Short: short, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := p.fetch(cmd, args, "/config_dump")
			if err != nil {
				return err
			}
			d, err := proxyconfig.Parse(raw)
			if err != nil {
				return err
			}
			return run(cmd, d)
		},
	}
	cmd.Flags().StringVarP(&p.file, "file", "f", "", "read a saved answer of the admin API instead of a proxy; '-' is standard input")
	return cmd
}

func (p *proxyConfigCommand) clusters() *cobra.Command {
	var f proxyconfig.ClusterFilter
	cmd := p.command("cluster", []string{"clusters", "c"}, "Show the clusters of a proxy", func(cmd *cobra.Command, d *proxyconfig.Dump) error {
		if p.output == "short" {
			return d.PrintClusters(cmd.OutOrStdout(), f)
		}
		raw, err := d.ClustersJSON(f)
		return p.print(cmd, raw, err)
	})
	cmd.Flags().StringVar(&f.FQDN, "fqdn", "", "only clusters whose service name contains this")
	cmd.Flags().IntVar(&f.Port, "port", 0, "only clusters of this port")
	cmd.Flags().StringVar(&f.Subset, "subset", "", "only clusters of this subset")
	cmd.Flags().StringVar(&f.Direction, "direction", "", "only inbound or outbound clusters")
	return cmd
}

func (p *proxyConfigCommand) listeners() *cobra.Command {
	var f proxyconfig.ListenerFilter
	cmd := p.command("listener", []string{"listeners", "l"}, "Show the listeners of a proxy", func(cmd *cobra.Command, d *proxyconfig.Dump) error {
		if p.output == "short" {
			return d.PrintListeners(cmd.OutOrStdout(), f)
		}
		raw, err := d.ListenersJSON(f)
		return p.print(cmd, raw, err)
	})
	cmd.Flags().StringVar(&f.Address, "address", "", "only listeners on this address")
	cmd.Flags().Uint32Var(&f.Port, "port", 0, "only listeners on this port")
	cmd.Flags().StringVar(&f.Type, "type", "", "only HTTP or TCP listeners")
	return cmd
}

func (p *proxyConfigCommand) routes() *cobra.Command {
	var f proxyconfig.RouteFilter
	cmd := p.command("route", []string{"routes", "r"}, "Show the routes of a proxy", func(cmd *cobra.Command, d *proxyconfig.Dump) error {
		if p.output == "short" {
			return d.PrintRoutes(cmd.OutOrStdout(), f)
		}
		raw, err := d.RoutesJSON(f)
		return p.print(cmd, raw, err)
	})
	cmd.Flags().StringVar(&f.Name, "name", "", "only the route configuration of this name")
	cmd.Flags().BoolVar(&f.VirtualHosts, "vhosts", false, "add the column VHOST NAME, as istioctl prints since 1.20")
	return cmd
}

func (p *proxyConfigCommand) endpoints() *cobra.Command {
	var f proxyconfig.EndpointFilter
	cmd := &cobra.Command{
		Use: "endpoint [PROXY]", Aliases: []string{"endpoints", "ep"}, Short: "Show the endpoints of a proxy with their health",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := p.fetch(cmd, args, "/clusters?format=json")
			if err != nil {
				return err
			}
			all, err := proxyconfig.ParseClusters(raw)
			if err != nil {
				return err
			}
			return p.printEndpoints(cmd.OutOrStdout(), all, f)
		},
	}
	cmd.Flags().StringVarP(&p.file, "file", "f", "", "read a saved answer of /clusters?format=json instead of a proxy; '-' is standard input")
	cmd.Flags().StringVar(&f.Cluster, "cluster", "", "only endpoints of this cluster")
	cmd.Flags().StringVar(&f.Address, "address", "", "only endpoints on this address")
	cmd.Flags().Uint32Var(&f.Port, "port", 0, "only endpoints on this port")
	cmd.Flags().StringVar(&f.Status, "status", "", "only endpoints in this state, such as healthy")
	return cmd
}

func (p *proxyConfigCommand) printEndpoints(w io.Writer, all *adminv3.Clusters, f proxyconfig.EndpointFilter) error {
	if p.output == "short" {
		return proxyconfig.PrintEndpoints(w, all, f)
	}
	raw, err := proxyconfig.EndpointsJSON(all, f)
	if err != nil {
		return err
	}
	return proxyconfig.Print(w, p.output, raw)
}

func (p *proxyConfigCommand) secrets() *cobra.Command {
	cmd := p.command("secret", []string{"secrets", "s"}, "Show the certificates of a proxy, and what its TLS connections have agreed on", func(cmd *cobra.Command, d *proxyconfig.Dump) error {
		if p.output == "short" {
			return d.PrintSecrets(cmd.OutOrStdout(), time.Now())
		}
		return proxyconfig.Print(cmd.OutOrStdout(), p.output, d.SecretsJSON())
	})
	show := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := show(cmd, args); err != nil || p.output != "short" || p.file != "" {
			return err
		}
		stats, err := p.fetch(cmd, args, proxyconfig.KeyExchangeStats)
		if err != nil {
			return err
		}
		return proxyconfig.PrintKeyExchanges(cmd.OutOrStdout(), stats)
	}
	return cmd
}

func (p *proxyConfigCommand) bootstrap() *cobra.Command {
	return p.command("bootstrap", []string{"b"}, "Show the bootstrap of a proxy", func(cmd *cobra.Command, d *proxyconfig.Dump) error {
		format := p.output
		if format == "short" {
			format = "json" // a bootstrap has no table, here as in istioctl
		}
		return proxyconfig.Print(cmd.OutOrStdout(), format, d.Bootstrap)
	})
}

// all prints everything but the endpoints, as istioctl does: the output of two moments can be compared without noise from health.
func (p *proxyConfigCommand) all() *cobra.Command {
	return p.command("all", []string{"a"}, "Show clusters, listeners, routes and secrets of a proxy", func(cmd *cobra.Command, d *proxyconfig.Dump) error {
		w := cmd.OutOrStdout()
		if p.output != "short" {
			raw, err := allJSON(d)
			return p.print(cmd, raw, err)
		}
		for i, print := range []func() error{
			func() error { return d.PrintClusters(w, proxyconfig.ClusterFilter{}) },
			func() error { return d.PrintListeners(w, proxyconfig.ListenerFilter{}) },
			func() error { return d.PrintRoutes(w, proxyconfig.RouteFilter{}) },
			func() error { return d.PrintSecrets(w, time.Now()) },
		} {
			if i > 0 {
				fmt.Fprintln(w)
			}
			if err := print(); err != nil {
				return err
			}
		}
		return nil
	})
}

func allJSON(d *proxyconfig.Dump) (json.RawMessage, error) {
	clusters, err := d.ClustersJSON(proxyconfig.ClusterFilter{})
	if err != nil {
		return nil, err
	}
	listeners, err := d.ListenersJSON(proxyconfig.ListenerFilter{})
	if err != nil {
		return nil, err
	}
	routes, err := d.RoutesJSON(proxyconfig.RouteFilter{})
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]json.RawMessage{
		"bootstrap": orNull(d.Bootstrap), "clusters": clusters, "listeners": listeners, "routes": routes, "secrets": d.SecretsJSON(),
	})
}

// print writes JSON that a rendering function returned, in the chosen format.
func (p *proxyConfigCommand) print(cmd *cobra.Command, raw json.RawMessage, err error) error {
	if err != nil {
		return err
	}
	return proxyconfig.Print(cmd.OutOrStdout(), p.output, raw)
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

// log shows log levels, and sets them with --level.
func (p *proxyConfigCommand) log() *cobra.Command {
	var levels string
	var reset bool
	cmd := &cobra.Command{
		Use: "log PROXY", Aliases: []string{"o"}, Short: "Show or set the log levels of a proxy",
		Example: "  lateen pc log deploy/webapp.istioinaction --level http:debug,router:debug\n  lateen pc log deploy/webapp.istioinaction --level warning",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query, err := logQueries(levels, reset)
			if err != nil {
				return err
			}
			proxy, err := p.find(cmd, args[0])
			if err != nil {
				return err
			}
			var body []byte
			for _, q := range query {
				if body, err = askAdmin(cmd, http.MethodPost, proxy.Admin, "/logging"+q); err != nil {
					return err
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s.%s:\n%s", proxy.Name, proxy.Namespace, body)
			return nil
		},
	}
	cmd.Flags().StringVar(&levels, "level", "", "LEVEL for all loggers, or a list of LOGGER:LEVEL")
	cmd.Flags().BoolVarP(&reset, "reset", "r", false, "set all loggers back to warning")
	return cmd
}

// logQueries turns --level into the queries of POST /logging, one a logger.
func logQueries(levels string, reset bool) ([]string, error) {
	if reset {
		return []string{"?level=warning"}, nil
	}
	if levels == "" {
		return []string{""}, nil
	}
	known := []string{"trace", "debug", "info", "warning", "error", "critical", "off"}
	var out []string
	for _, part := range strings.Split(levels, ",") {
		logger, level, ok := strings.Cut(part, ":")
		if !ok {
			logger, level = "level", part
		}
		if logger == "" || !slices.Contains(known, level) {
			return nil, fmt.Errorf("--level %q: want LEVEL or LOGGER:LEVEL, with a level of %s", part, strings.Join(known, ", "))
		}
		out = append(out, "?"+url.QueryEscape(logger)+"="+level)
	}
	return out, nil
}

// fetch reads an admin page of the proxy in args, or the file of --file.
func (p *proxyConfigCommand) fetch(cmd *cobra.Command, args []string, path string) ([]byte, error) {
	switch {
	case p.file != "" && len(args) > 0:
		return nil, fmt.Errorf("name a proxy or a --file, not both")
	case p.file == "-":
		return io.ReadAll(cmd.InOrStdin())
	case p.file != "":
		return os.ReadFile(p.file)
	case len(args) == 0:
		return nil, fmt.Errorf("name a proxy, such as deploy/webapp.istioinaction, or a saved dump with --file")
	}
	proxy, err := p.find(cmd, args[0])
	if err != nil {
		return nil, err
	}
	return askAdmin(cmd, http.MethodGet, proxy.Admin, path)
}

func (p *proxyConfigCommand) find(cmd *cobra.Command, target string) (runfile.Proxy, error) {
	run, err := runfile.Read(stateDir(cmd))
	if err != nil {
		return runfile.Proxy{}, err
	}
	return findProxy(run.Proxies, target, p.namespace)
}

// findProxy resolves POD[.NS], pod/POD[.NS] and deploy[ment]/NAME[.NS]. Of several proxies of a workload it takes the first by name,
// as istioctl does.
func findProxy(proxies []runfile.Proxy, target, namespace string) (runfile.Proxy, error) {
	kind, name, ok := strings.Cut(target, "/")
	if !ok {
		kind, name = "pod", target
	}
	byWorkload := false
	switch kind {
	case "pod", "po":
	case "deploy", "deployment", "deployments":
		byWorkload = true
	default:
		return runfile.Proxy{}, fmt.Errorf("%q: a proxy is POD[.NAMESPACE], pod/POD or deploy/NAME, not %s/", target, kind)
	}
	var found []runfile.Proxy
	for _, c := range proxies {
		have := c.Name
		if byWorkload {
			have = c.Workload
		}
		if namespace == "" && name == have+"."+c.Namespace || name == have && (namespace == "" || namespace == c.Namespace) ||
			name == have+"."+c.Namespace && namespace == c.Namespace {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		var names []string
		for _, c := range proxies {
			if byWorkload {
				names = append(names, "deploy/"+c.Workload+"."+c.Namespace)
			} else {
				names = append(names, c.Name+"."+c.Namespace)
			}
		}
		slices.Sort(names)
		return runfile.Proxy{}, fmt.Errorf("no proxy %q; there are: %s", target, strings.Join(slices.Compact(names), ", "))
	}
	slices.SortFunc(found, func(a, b runfile.Proxy) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range found[1:] {
		if c.Namespace != found[0].Namespace {
			return runfile.Proxy{}, fmt.Errorf("%q is in the namespaces %s and %s: name one with -n", target, found[0].Namespace, c.Namespace)
		}
	}
	return found[0], nil
}

// askAdmin calls a proxy's admin API. Answers are bounded: a dump of a large mesh is tens of megabytes, not more.
func askAdmin(cmd *cobra.Command, method, admin, path string) ([]byte, error) {
	const most = 512 << 20
	req, err := http.NewRequestWithContext(cmd.Context(), method, "http://"+admin+path, nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{Proxy: nil}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("admin API of the proxy: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("admin API of the proxy: %s %s answered %s: %s", method, path, resp.Status, bytes.TrimSpace(body))
	}
	return body, nil
}
