package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/analyze"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/config/statedir"
)

// reported is the error of a command that has printed what went wrong: the caller prints nothing and exits with 1.
type reported struct{}

func (reported) Error() string { return "" }

// fileFlags are the flags by which kubectl's commands name files.
type fileFlags struct {
	files     []string
	recursive bool
	namespace string
}

func (f *fileFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&f.files, "filename", "f", nil, "file or folder with objects in YAML or JSON, or - for standard input; may be given several times")
	cmd.Flags().BoolVarP(&f.recursive, "recursive", "R", false, "read the folders below a folder as well")
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "", `namespace of objects that name none (default "default")`)
}

func (f *fileFlags) read(stdin io.Reader) ([]config.File, error) {
	return config.ReadFiles(f.files, config.ReadOptions{Recursive: f.recursive, Stdin: stdin})
}

// newApplyCommand is `lateen apply`, with kubectl's flags and words.
func newApplyCommand() *cobra.Command {
	var flags fileFlags
	var dryRun string
	var wait servedFlags
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Create or change objects from files",
		Long: "Create or change objects from files: Istio's kinds, Service, and the other core kinds that a mesh knows.\n\n" +
			"All files are checked first, by themselves and against what is there. After any mistake nothing is written\n" +
			"and each mistake is printed as file:line: field: what is wrong. Warnings say what is accepted and will not work.\n\n" +
			"With --wait the command returns when every proxy that the change concerns serves it. Those that do not are named when the\n" +
			"time is over, or at once when they have refused it; the objects stay applied.",
		Example: "  lateen apply -f catalog.yaml\n  lateen apply -f manifests/ -R\n  cat catalog.yaml | lateen apply -n istioinaction -f -",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(flags.files) == 0 {
				return errors.New("must specify -f: the file or folder to apply")
			}
			if err := checkDryRun(dryRun); err != nil {
				return err
			}
			files, err := flags.read(cmd.InOrStdin())
			if err != nil {
				return err
			}
			mesh, run, err := wait.mesh(cmd)
			if err != nil {
				return err
			}
			applied, err := apply(cmd, files, flags.namespace, dryRun != "none")
			if err != nil || !wait.wait || dryRun != "none" {
				return err
			}
			return wait.served(cmd, mesh, applied, run)
		},
	}
	flags.register(cmd)
	wait.register(cmd)
	dryRunFlag(cmd, &dryRun)
	return cmd
}

// dryRunFlag takes kubectl's --dry-run, --dry-run=client and --dry-run=server, which mean the same here.
func dryRunFlag(cmd *cobra.Command, value *string) {
	cmd.Flags().StringVar(value, "dry-run", "none", "check and print, write nothing (none, client or server)")
	cmd.Flags().Lookup("dry-run").NoOptDefVal = "client"
}

func checkDryRun(value string) error {
	switch value {
	case "none", "client", "server":
		return nil
	}
	return fmt.Errorf("invalid dry-run value (%s). Must be \"none\", \"server\", or \"client\"", value)
}

// apply writes what files say and returns what is to be waited for.
func apply(cmd *cobra.Command, files []config.File, namespace string, dryRun bool) (change, error) {
	dir := stateDir(cmd)
	unlock, err := statedir.Lock(dir)
	if err != nil {
		return change{}, err
	}
	defer unlock()
	plan, err := statedir.Prepare(dir, files, statedir.PrepareOptions{Namespace: namespace, Only: namespace != "", Now: time.Now()})
	if problems := config.AsProblems(err); len(problems) > 0 {
		for _, p := range problems {
			fmt.Fprintln(cmd.ErrOrStderr(), p.Error())
		}
		return change{}, fmt.Errorf("nothing was applied: %s", count(len(problems), "mistake"))
	}
	if err != nil {
		return change{}, err
	}
	printWarnings(cmd.ErrOrStderr(), append(idleDeployments(plan.Changes), plan.Warnings...))
	if len(plan.Changes) == 0 {
		return change{}, errors.New("no objects passed to apply")
	}
	suffix := ""
	if dryRun {
		suffix = " (dry run)"
	} else if err := plan.Commit(); err != nil {
		return change{}, fmt.Errorf("nothing was applied: %w", err)
	}
	for _, c := range plan.Changes {
		fmt.Fprintf(cmd.OutOrStdout(), "%s/%s %s%s\n", c.Object.Kind.Resource(), c.Object.Name, c.Verb, suffix)
	}
	if dryRun {
		return change{}, nil
	}
	return application(dir, plan.Changes)
}

func printWarnings(w io.Writer, messages []analyze.Message) {
	for _, m := range messages {
		p := m.Problem()
		fmt.Fprintf(w, "Warning: %s [%s]\n", p.Error(), m.Code)
	}
}

// idleDeployments says of Deployments that nobody here runs them: `lateen up` runs those of its folder.
func idleDeployments(changes []statedir.Change) []analyze.Message {
	var out []analyze.Message
	for _, c := range changes {
		if o := c.Object; o.Kind == schema.Deployment {
			out = append(out, analyze.Message{Code: analyze.NoEffect, Severity: analyze.Warning, Key: o.Key(), File: o.Source.File, Line: o.Source.Line,
				Text: fmt.Sprintf("%s is kept and not run; put its file into the folder of `lateen up`, which runs it", o)})
		}
	}
	return out
}

func count(n int, what string) string { return countOf(n, what, what+"s") }

func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
