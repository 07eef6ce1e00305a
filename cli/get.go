package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/statedir"
	"github.com/lateen-mesh/lateen/config/table"
	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// getCommand holds the flags of `lateen get`.
type getCommand struct {
	namespace, output, selector          string
	allNamespaces, noHeaders, showLabels bool
	ignoreMissing                        bool
}

// newGetCommand is `lateen get`, with kubectl's flags, tables and messages.
func newGetCommand() *cobra.Command {
	g := &getCommand{}
	cmd := &cobra.Command{
		Use:   "get KIND[,KIND] [NAME...]",
		Short: "Print objects",
		Example: "  lateen get vs,gw -A\n  lateen get virtualservice catalog -n istioinaction -o yaml\n" +
			"  lateen get all -n istioinaction",
		RunE: func(cmd *cobra.Command, args []string) error { return g.run(cmd, args) },
	}
	f := cmd.Flags()
	f.StringVarP(&g.namespace, "namespace", "n", "default", "namespace of the objects")
	f.BoolVarP(&g.allNamespaces, "all-namespaces", "A", false, "objects of all namespaces")
	f.StringVarP(&g.output, "output", "o", "", "wide, yaml, json or name")
	f.StringVarP(&g.selector, "selector", "l", "", "objects with these labels, such as app=catalog,version!=v2")
	f.BoolVar(&g.noHeaders, "no-headers", false, "print tables without headings")
	f.BoolVar(&g.showLabels, "show-labels", false, "print the labels as the last column")
	f.BoolVar(&g.ignoreMissing, "ignore-not-found", false, "it is no error if a named object does not exist")
	return cmd
}

func (g *getCommand) run(cmd *cobra.Command, args []string) error {
	switch g.output {
	case "", "wide", "yaml", "json", "name":
	default:
		return fmt.Errorf("unable to match a printer suitable for the output format %q, allowed formats are: json,name,wide,yaml", g.output)
	}
	targets, err := parseTargets(args)
	if err != nil {
		return err
	}
	match, err := parseSelector(g.selector)
	if err != nil {
		return err
	}
	set, err := statedir.ReadAll(stateDir(cmd))
	if set == nil {
		return err
	}
	for _, p := range config.AsProblems(err) {
		fmt.Fprintf(cmd.ErrOrStderr(), "Warning: %s\n", p.Error())
	}
	found, missing, err := g.find(set, g.settle(set, targets), match)
	if err != nil {
		return err
	}
	if found, err = observed(cmd, found); err != nil {
		return err
	}
	if err := g.print(cmd, found, len(targets) == 1 && targets[0].name != "" && len(found) < 2); err != nil {
		return err
	}
	if len(missing) > 0 {
		for _, m := range missing {
			fmt.Fprintln(cmd.ErrOrStderr(), m)
		}
		return reported{}
	}
	if len(found) == 0 && !g.ignoreMissing {
		if g.allNamespaces {
			fmt.Fprintln(cmd.ErrOrStderr(), "No resources found")
		} else {
			fmt.Fprintf(cmd.ErrOrStderr(), "No resources found in %s namespace.\n", g.namespace)
		}
	}
	return nil
}

// settle takes the kinds of which there is something, where a word means several.
func (g *getCommand) settle(set *config.Set, mentions []mention) []target {
	return settle(mentions, func(t target) bool {
		if t.name != "" {
			return set.Lookup(key(t.kind, g.namespace, t.name)) != nil
		}
		return slices.ContainsFunc(set.List(t.kind), func(o *config.Object) bool {
			return g.allNamespaces || !t.kind.Namespaced || o.Namespace == g.namespace
		})
	})
}

// observed adds the status of objects of the Gateway API and of Ingresses, which the control plane of a running mesh knows.
func observed(cmd *cobra.Command, list []*config.Object) ([]*config.Object, error) {
	if !slices.ContainsFunc(list, func(o *config.Object) bool { return o.Kind.Translated() }) {
		return list, nil
	}
	run, err := runfile.Read(stateDir(cmd))
	if errors.Is(err, runfile.ErrNotRunning) {
		return list, nil
	}
	if err != nil {
		return nil, err
	}
	raw, err := meshDebug{address: run.Debug}.get(cmd.Context(), "/debug/gatewayapi", nil)
	if err != nil {
		return nil, err
	}
	var all []struct {
		Kind, Namespace, Name string
		Status                json.RawMessage
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("the control plane's answer at %s is not what this version reads: %w", run.Debug, err)
	}
	out := slices.Clone(list)
	for i, o := range out {
		for _, st := range all {
			if o.Kind.Translated() && o.Kind.Name == st.Kind && o.Namespace == st.Namespace && o.Name == st.Name {
				with := *o
				with.Status = st.Status
				out[i] = &with
			}
		}
	}
	return out, nil
}

// find returns the objects that the targets name, in their order, and a message for each that does not exist.
func (g *getCommand) find(set *config.Set, targets []target, match func(*config.Object) bool) (found []*config.Object, missing []string, err error) {
	for _, t := range targets {
		if t.name != "" {
			if g.allNamespaces {
				return nil, nil, errors.New("a resource cannot be retrieved by name across all namespaces")
			}
			if g.selector != "" {
				return nil, nil, errors.New("selectors and the all flag cannot be used when passing resource/name arguments")
			}
			o := set.Lookup(key(t.kind, g.namespace, t.name))
			if o != nil {
				found = append(found, o)
			} else if !g.ignoreMissing {
				missing = append(missing, notFound(t.kind, t.name))
			}
			continue
		}
		for _, o := range set.List(t.kind) {
			if (g.allNamespaces || !t.kind.Namespaced || o.Namespace == g.namespace) && match(o) {
				found = append(found, o)
			}
		}
	}
	return found, missing, nil
}

func (g *getCommand) print(cmd *cobra.Command, found []*config.Object, single bool) error {
	out := cmd.OutOrStdout()
	switch g.output {
	case "yaml", "json":
		return g.printValues(out, found, single)
	case "name":
		for _, o := range found {
			fmt.Fprintf(out, "%s/%s\n", o.Kind.Resource(), o.Name)
		}
		return nil
	}
	return table.Print(out, found, table.Options{
		Now: time.Now(), Wide: g.output == "wide", Namespace: g.allNamespaces, NoHeaders: g.noHeaders, ShowLabels: g.showLabels,
	})
}

func (g *getCommand) printValues(out io.Writer, found []*config.Object, single bool) error {
	if single && len(found) == 0 {
		return nil
	}
	items := make([]any, 0, len(found))
	for _, o := range found {
		m, err := o.Map()
		if err != nil {
			return err
		}
		items = append(items, m)
	}
	var value any = map[string]any{"apiVersion": "v1", "kind": "List", "items": items, "metadata": map[string]any{"resourceVersion": ""}}
	if single {
		value = items[0]
	}
	if g.output == "yaml" {
		b, err := yaml.Marshal(value)
		if err != nil {
			return err
		}
		_, err = out.Write(b)
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "    ")
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}

// parseSelector reads kubectl's label selectors: a=b, a!=b, a in (b,c), a, !a.
func parseSelector(s string) (func(*config.Object) bool, error) {
	sel, err := labels.Parse(strings.TrimSpace(s))
	if err != nil {
		return nil, fmt.Errorf("selector %q: %w", s, err)
	}
	return func(o *config.Object) bool { return sel.Matches(labels.Set(o.Labels)) }, nil
}
