package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// syncStatus is what `proxy-status` reads of an element of the control plane's /debug/syncz, Istio's keys first.
type syncStatus struct {
	ClusterID    string     `json:"cluster_id"`
	Proxy        string     `json:"proxy"`
	IstioVersion string     `json:"istio_version"`
	Istiod       string     `json:"istiod"`
	Identity     string     `json:"identity"`
	Address      string     `json:"address"`
	Connected    time.Time  `json:"connected"`
	Protocol     string     `json:"protocol"`
	Served       uint64     `json:"served"`
	Current      uint64     `json:"current"`
	Types        []typeSync `json:"types"`
}

type typeSync struct {
	Type      string     `json:"type"`
	State     string     `json:"state"`
	Resources int        `json:"resources"`
	SentAt    *time.Time `json:"sentAt"`
	Error     string     `json:"error"`
}

// newProxyStatusCommand returns `lateen proxy-status`, with istioctl's table.
func newProxyStatusCommand() *cobra.Command {
	var output, namespace, debugAddr string
	cmd := &cobra.Command{
		Use:     "proxy-status [NAME[.NAMESPACE]]",
		Aliases: []string{"ps"},
		Short:   "Show whether every proxy has what the control plane sent it, or one proxy in detail",
		Long: "Show whether every proxy has what the control plane sent it: SYNCED when it has acknowledged the last configuration of a type,\n" +
			"STALE when it has not or has refused it, NOT SENT when it was sent nothing. With a name, one proxy in detail: what it refused and why, and\n" +
			"where what it runs differs from what it was sent.",
		Example: "  lateen proxy-status\n  lateen ps catalog-v1-1.istioinaction",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "" && output != "json" {
				return fmt.Errorf("output format %q is not known: use json, or leave -o out", output)
			}
			m := meshDebug{address: debugAddr}
			run, err := runfile.Read(stateDir(cmd))
			switch {
			case err == nil && m.address == "":
				m.address = run.Debug
			case err != nil && m.address == "":
				return err
			}
			var query url.Values
			if len(args) == 1 {
				query = url.Values{"proxyID": {args[0]}}
			}
			raw, err := m.get(cmd.Context(), "/debug/syncz", query)
			if err != nil {
				return err
			}
			if output == "json" {
				_, err := cmd.OutOrStdout().Write(raw)
				return err
			}
			var proxies []syncStatus
			if err := json.Unmarshal(raw, &proxies); err != nil {
				return fmt.Errorf("the control plane's answer at %s is not what this version reads: %w", m.address, err)
			}
			if namespace != "" {
				proxies = slices.DeleteFunc(proxies, func(p syncStatus) bool { return !strings.HasSuffix(p.Proxy, "."+namespace) })
			}
			if len(args) == 0 {
				return printProxyStatus(cmd.OutOrStdout(), proxies)
			}
			switch len(proxies) {
			case 0:
				return fmt.Errorf("proxy %q is not connected to the control plane; `lateen proxy-status` lists those that are", args[0])
			case 1:
				return m.describe(cmd.Context(), cmd.OutOrStdout(), proxies[0], run)
			default:
				return fmt.Errorf("%q names %d proxies; add the namespace, as in %s", args[0], len(proxies), proxies[0].Proxy)
			}
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "output format: json")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "only proxies of this namespace")
	cmd.Flags().StringVar(&debugAddr, "xds-debug-address", "", "HTTP address of the control plane (default: that of the mesh in --state-dir)")
	return cmd
}

// printProxyStatus prints istioctl's table: five blanks between columns.
func printProxyStatus(out io.Writer, proxies []syncStatus) error {
	w := tabwriter.NewWriter(out, 0, 8, 5, ' ', 0)
	fmt.Fprintln(w, "NAME\tCLUSTER\tCDS\tLDS\tEDS\tRDS\tECDS\tISTIOD\tVERSION")
	slices.SortFunc(proxies, func(a, b syncStatus) int { return strings.Compare(a.Proxy, b.Proxy) })
	for _, p := range proxies {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Proxy, p.ClusterID,
			p.state("CDS"), p.state("LDS"), p.state("EDS"), p.state("RDS"), p.state("ECDS"), p.Istiod, p.IstioVersion)
	}
	return w.Flush()
}

func (p syncStatus) state(name string) string {
	for _, t := range p.Types {
		if t.Type == name {
			return t.State
		}
	}
	return "NOT SENT"
}

// meshDebug asks the control plane's debug pages.
type meshDebug struct{ address string }

func (m meshDebug) get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	u := url.URL{Scheme: "http", Host: m.address, Path: path, RawQuery: query.Encode()}
	return httpGet(ctx, u.String(), "the control plane")
}

// maxAnswer is the most that is read of a debug page, in bytes.
const maxAnswer = 256 << 20

func httpGet(ctx context.Context, url, who string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	// Straight to the mesh, whatever proxy the environment names.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s does not answer: %w; is the mesh still running?", who, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", who, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s: %s", who, resp.Status, strings.TrimSpace(string(raw)))
	}
	return raw, nil
}

// describe prints one proxy: its connection, each type's state, and where what it runs differs from what it was sent.
func (m meshDebug) describe(ctx context.Context, out io.Writer, p syncStatus, run *runfile.Run) error {
	fmt.Fprintf(out, "Proxy:      %s (Istio %s)\n", p.Proxy, p.IstioVersion)
	fmt.Fprintf(out, "Identity:   %s\n", orText(p.Identity, "none proved: it is connected in plaintext"))
	fmt.Fprintf(out, "Connected:  %s, %s, from %s to %s\n", p.Connected.Local().Format(time.DateTime), p.Protocol, p.Address, p.Istiod)
	if p.Served == p.Current {
		fmt.Fprintf(out, "Version:    %d, the current one\n\n", p.Served)
	} else {
		fmt.Fprintf(out, "Version:    %d, while the current one is %d\n\n", p.Served, p.Current)
	}
	w := tabwriter.NewWriter(out, 0, 8, 5, ' ', 0)
	fmt.Fprintln(w, "TYPE\tSTATE\tRESOURCES\tLAST SENT")
	for _, t := range p.Types {
		at := "-"
		if t.SentAt != nil {
			at = t.SentAt.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", t.Type, t.State, t.Resources, at)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, t := range p.Types {
		if t.Error != "" {
			fmt.Fprintf(out, "\n%s was refused by the proxy: %s\n", t.Type, t.Error)
		}
	}
	return m.compare(ctx, out, p, run)
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// compare sets what the control plane sent beside what the proxy's admin API says it runs.
func (m meshDebug) compare(ctx context.Context, out io.Writer, p syncStatus, run *runfile.Run) error {
	admin := ""
	if run != nil {
		for _, r := range run.Proxies {
			if r.Name+"."+r.Namespace == p.Proxy {
				admin = r.Admin
			}
		}
	}
	if admin == "" {
		fmt.Fprintln(out, "\nThe proxy's admin address is not known here, so what it runs is not compared with what it was sent.")
		return nil
	}
	sent, err := m.get(ctx, "/debug/config_dump", url.Values{"proxyID": {p.Proxy}})
	if err != nil {
		return err
	}
	runs, err := httpGet(ctx, "http://"+admin+"/config_dump?include_eds", "the proxy at "+admin)
	if err != nil {
		return err
	}
	a, errA := dumpedVersions(sent)
	b, errB := dumpedVersions(runs)
	if err := errors.Join(errA, errB); err != nil {
		return fmt.Errorf("configuration dumps: %w", err)
	}
	fmt.Fprintln(out)
	for _, kind := range []string{"Clusters", "Listeners", "Routes"} {
		var lines []string
		for name, version := range a[kind] {
			switch other, ok := b[kind][name]; {
			case !ok:
				lines = append(lines, "- "+name+" (sent, and not in the proxy)")
			case other != "" && other != version:
				lines = append(lines, "~ "+name+" (sent in version "+version+", the proxy runs "+other+")")
			}
		}
		for name := range b[kind] {
			if _, ok := a[kind][name]; !ok {
				lines = append(lines, "+ "+name+" (in the proxy, and not sent)")
			}
		}
		if len(lines) == 0 {
			fmt.Fprintf(out, "%s Match\n", kind)
			continue
		}
		slices.Sort(lines)
		fmt.Fprintf(out, "%s Don't Match\n  %s\n", kind, strings.Join(lines, "\n  "))
	}
	return nil
}

// dumpedVersions returns the dynamic resources of a configuration dump: kind, name, version. Envoy's names of fields are those of the protos, the
// control plane's are in lower camel case.
func dumpedVersions(raw []byte) (map[string]map[string]string, error) {
	var dump struct {
		Configs []fields `json:"configs"`
	}
	if err := json.Unmarshal(raw, &dump); err != nil {
		return nil, err
	}
	out := map[string]map[string]string{"Clusters": {}, "Listeners": {}, "Routes": {}}
	for _, c := range dump.Configs {
		for _, section := range []struct{ kind, list, state, resource string }{
			{"Clusters", "dynamic_active_clusters", "", "cluster"},
			{"Listeners", "dynamic_listeners", "active_state", "listener"},
			{"Routes", "dynamic_route_configs", "", "route_config"},
		} {
			var list []fields
			if err := c.get(section.list, &list); err != nil {
				return nil, err
			}
			for _, d := range list {
				version, name, err := d.resource(section.state, section.resource)
				if err != nil {
					return nil, err
				}
				if name != "" {
					out[section.kind][name] = version
				}
			}
		}
	}
	return out, nil
}

// fields is a JSON object of a message.
type fields map[string]json.RawMessage

// get reads a field by its name in the proto; to stays as it is without one.
func (f fields) get(name string, to any) error {
	raw, ok := f[name]
	if !ok {
		words := strings.Split(name, "_")
		for i, w := range words[1:] {
			words[i+1] = strings.ToUpper(w[:1]) + w[1:]
		}
		if raw, ok = f[strings.Join(words, "")]; !ok {
			return nil
		}
	}
	return json.Unmarshal(raw, to)
}

// resource is the version and the name of what stands under a key, in the state of that name if it has states. A listener that is not up yet has no
// version.
func (f fields) resource(state, key string) (version, name string, err error) {
	holder := f
	if state != "" {
		holder = fields{}
		err = errors.Join(f.get("name", &name), f.get(state, &holder))
	}
	var resource struct {
		Name string `json:"name"`
	}
	if err := errors.Join(err, holder.get("version_info", &version), holder.get(key, &resource)); err != nil {
		return "", "", err
	}
	if resource.Name != "" {
		name = resource.Name
	}
	return version, name, nil
}
