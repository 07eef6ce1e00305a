package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/config/statedir"
)

// newDeleteCommand is `lateen delete`, with kubectl's flags and words.
func newDeleteCommand() *cobra.Command {
	var flags fileFlags
	var all, ignoreMissing bool
	var dryRun, selector string
	var wait servedFlags
	cmd := &cobra.Command{
		Use:   "delete (-f FILE | KIND NAME... | KIND --all)",
		Short: "Delete objects by file or by name",
		Long: "Delete objects by file or by name, from the state folder.\n\n" +
			"With --wait the command returns when every proxy that the objects concerned serves the mesh without them. Those that do not are\n" +
			"named when the time is over, or at once when they have refused it; the objects stay deleted.",
		Example: "  lateen delete -f catalog.yaml\n  lateen delete vs catalog -n istioinaction\n  lateen delete virtualservice,destinationrule --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkDryRun(dryRun); err != nil {
				return err
			}
			mesh, run, err := wait.mesh(cmd)
			if err != nil {
				return err
			}
			named := func(current *config.Set) ([]config.Key, config.Problems, error) {
				if len(flags.files) > 0 {
					return keysOfFiles(cmd, &flags, args)
				}
				keys, err := keysOfArgs(current, args, flags.namespace, all, selector)
				return keys, nil, err
			}
			deleted, err := deleteNamed(cmd, named, ignoreMissing, dryRun != "none")
			if !wait.wait || dryRun != "none" || len(deleted) == 0 {
				return err
			}
			// An object that could not be found, which is err, does not keep the others from being waited for.
			if notServed := wait.served(cmd, mesh, deletion(deleted), run); notServed != nil {
				return notServed
			}
			return err
		},
	}
	flags.register(cmd)
	wait.register(cmd)
	dryRunFlag(cmd, &dryRun)
	cmd.Flags().BoolVar(&all, "all", false, "delete all objects of the kind in the namespace")
	cmd.Flags().BoolVar(&ignoreMissing, "ignore-not-found", false, "it is no error if an object does not exist")
	cmd.Flags().StringVarP(&selector, "selector", "l", "", "delete the objects with these labels")
	return cmd
}

// deleteNamed removes the objects that named finds in the state folder, and returns those that it has removed.
func deleteNamed(cmd *cobra.Command, named func(*config.Set) ([]config.Key, config.Problems, error), ignoreMissing, dryRun bool) ([]config.Key, error) {
	dir := stateDir(cmd)
	unlock, err := statedir.Lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	current, err := statedir.Read(dir)
	if current == nil {
		return nil, err
	}
	keys, problems, err := named(current)
	if err != nil {
		return nil, err
	}
	for _, p := range problems {
		fmt.Fprintln(cmd.ErrOrStderr(), p.Error())
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("nothing was deleted: %s", count(len(problems), "mistake"))
	}
	return deleteKeys(cmd, dir, current, keys, ignoreMissing, dryRun)
}

func keysOfFiles(cmd *cobra.Command, flags *fileFlags, args []string) ([]config.Key, config.Problems, error) {
	if len(args) > 0 {
		return nil, nil, errors.New("name the objects either by -f or by kind and name, not both")
	}
	files, err := flags.read(cmd.InOrStdin())
	if err != nil {
		return nil, nil, err
	}
	names, problems := config.Names(files, flags.namespace)
	return names, problems, nil
}

func keysOfArgs(current *config.Set, args []string, namespace string, all bool, selector string) ([]config.Key, error) {
	words, err := parseTargets(args)
	if err != nil {
		return nil, err
	}
	if namespace == "" {
		namespace = "default"
	}
	targets := settle(words, func(t target) bool {
		if t.name != "" {
			return current.Lookup(key(t.kind, namespace, t.name)) != nil
		}
		return slices.ContainsFunc(current.List(t.kind), func(o *config.Object) bool { return !t.kind.Namespaced || o.Namespace == namespace })
	})
	for i, t := range targets {
		if i > 0 && !slices.Contains(args, "all") && t.name == targets[i-1].name && t.kind.Singular == targets[i-1].kind.Singular {
			return nil, fmt.Errorf("%s can mean %s and %s, and there are both: say which", t.kind.Singular, targets[i-1].kind.Resource(), t.kind.Resource())
		}
	}
	match, err := parseSelector(selector)
	if err != nil {
		return nil, err
	}
	var keys []config.Key
	for _, t := range targets {
		switch {
		case t.name != "" && (all || selector != ""):
			return nil, errors.New("name cannot be provided when --all or a selector is specified")
		case t.name != "":
			keys = append(keys, key(t.kind, namespace, t.name))
		case !all && selector == "":
			return nil, errors.New("resource(s) were provided, but no name was specified")
		default:
			for _, o := range current.List(t.kind) {
				if (!t.kind.Namespaced || o.Namespace == namespace) && match(o) {
					keys = append(keys, o.Key())
				}
			}
		}
	}
	return keys, nil
}

func key(k *schema.Kind, namespace, name string) config.Key {
	if !k.Namespaced {
		namespace = ""
	}
	return config.Key{Kind: k, Namespace: namespace, Name: name}
}

// deleteKeys removes what exists and reports what does not, as kubectl: one missing object does not keep the others. It returns what existed.
func deleteKeys(cmd *cobra.Command, dir string, current *config.Set, keys []config.Key, ignoreMissing, dryRun bool) ([]config.Key, error) {
	var found, missing []config.Key
	for _, k := range keys {
		if current.Lookup(k) != nil {
			found = append(found, k)
		} else if !ignoreMissing {
			missing = append(missing, k)
		}
	}
	printWarnings(cmd.ErrOrStderr(), statedir.Consequences(current, found))
	suffix := ""
	if dryRun {
		suffix = " (dry run)"
	} else if err := statedir.Delete(dir, current, found); err != nil {
		return nil, fmt.Errorf("nothing was deleted: %w", err)
	}
	if len(keys) == 0 && !ignoreMissing {
		fmt.Fprintln(cmd.OutOrStdout(), "No resources found")
	}
	for _, k := range found {
		fmt.Fprintf(cmd.OutOrStdout(), "%s %q deleted%s\n", k.Kind.Resource(), k.Name, suffix)
	}
	for _, k := range missing {
		fmt.Fprintln(cmd.ErrOrStderr(), notFound(k.Kind, k.Name))
	}
	if len(missing) > 0 {
		return found, reported{}
	}
	return found, nil
}

// notFound is the API server's answer as kubectl prints it.
func notFound(k *schema.Kind, name string) string {
	return fmt.Sprintf("Error from server (NotFound): %s %q not found", k.PluralResource(), name)
}

// target is one kind, with a name or without.
type target struct {
	kind *schema.Kind
	name string
}

// mention is what a user wrote of a target: a word that may mean several kinds, such as gateway.
type mention struct {
	kinds []*schema.Kind
	name  string
}

// settle chooses among the kinds that each word can mean: all those for which exists is true, else the first.
func settle(mentions []mention, exists func(target) bool) []target {
	var out []target
	for _, m := range mentions {
		before := len(out)
		for _, k := range m.kinds {
			if t := (target{k, m.name}); exists(t) {
				out = append(out, t)
			}
		}
		if len(out) == before {
			out = append(out, target{m.kinds[0], m.name})
		}
	}
	return out
}

// parseTargets reads kubectl's ways to name objects: KIND[,KIND], KIND NAME..., KIND/NAME...
func parseTargets(args []string) ([]mention, error) {
	if len(args) == 0 {
		return nil, errors.New("you must specify the type of resource to get: for example vs, dr, gw, svc, or all")
	}
	if strings.Contains(args[0], "/") {
		var out []mention
		for _, a := range args {
			word, name, ok := strings.Cut(a, "/")
			if !ok || name == "" {
				return nil, errors.New("there is no need to specify a resource type as a separate argument when passing arguments in resource/name form")
			}
			kinds, err := kindsOf(word)
			if err != nil {
				return nil, err
			}
			out = append(out, mention{kinds, name})
		}
		return out, nil
	}
	var words [][]*schema.Kind
	for _, word := range strings.Split(args[0], ",") {
		if word == "all" {
			for _, k := range schema.All() {
				words = append(words, []*schema.Kind{k})
			}
			continue
		}
		kinds, err := kindsOf(word)
		if err != nil {
			return nil, err
		}
		words = append(words, kinds)
	}
	var out []mention
	for _, kinds := range words {
		if len(args) == 1 {
			out = append(out, mention{kinds: kinds})
		}
		for _, name := range args[1:] {
			out = append(out, mention{kinds, name})
		}
	}
	return out, nil
}

func kindsOf(word string) ([]*schema.Kind, error) {
	if kinds := schema.AllByResource(word); len(kinds) > 0 {
		return kinds, nil
	}
	return nil, fmt.Errorf("the server doesn't have a resource type %q", word)
}
