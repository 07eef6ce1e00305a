package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/analyze"
	"github.com/lateen-mesh/lateen/config/statedir"
)

// analyzeCommand holds the flags of `lateen analyze`.
type analyzeCommand struct {
	namespace, output, threshold string
	allNamespaces, recursive     bool
}

// newAnalyzeCommand is `lateen analyze`: what istioctl analyze says, about the mesh of the state folder with files on top.
func newAnalyzeCommand() *cobra.Command {
	a := &analyzeCommand{}
	cmd := &cobra.Command{
		Use:   "analyze [FILE...]",
		Short: "Look for mistakes in how objects fit together",
		Long: "Look for mistakes in how objects fit together: in the mesh as it is, and as it would be with the given files.\n" +
			"Messages have istioctl's codes. The exit code is 1 if there is an error among them.",
		Example: "  lateen analyze -A\n  lateen analyze catalog.yaml -n istioinaction",
		RunE:    a.run,
	}
	f := cmd.Flags()
	f.StringVarP(&a.namespace, "namespace", "n", "default", "namespace to look at")
	f.BoolVarP(&a.allNamespaces, "all-namespaces", "A", false, "look at all namespaces")
	f.BoolVarP(&a.recursive, "recursive", "R", false, "read the folders below a folder as well")
	f.StringVarP(&a.output, "output", "o", "log", "log, json or yaml")
	f.StringVar(&a.threshold, "failure-threshold", "Error", "least severity that makes the exit code 1: Info, Warning or Error")
	return cmd
}

func (a *analyzeCommand) run(cmd *cobra.Command, args []string) error {
	fail, ok := map[string]analyze.Severity{"Info": analyze.Info, "Warning": analyze.Warning, "Error": analyze.Error}[a.threshold]
	if !ok {
		return fmt.Errorf("--failure-threshold %q: use Info, Warning or Error", a.threshold)
	}
	set, err := statedir.ReadAll(stateDir(cmd))
	if set == nil {
		return err
	}
	problems := config.AsProblems(err)
	if len(args) > 0 {
		files, err := config.ReadFiles(args, config.ReadOptions{Recursive: a.recursive, Stdin: cmd.InOrStdin()})
		if err != nil {
			return err
		}
		given, err := config.Load(files, config.LoadOptions{Namespace: a.namespace})
		problems = append(problems, config.AsProblems(err)...)
		set = set.With(given)
	}
	var found []analyze.Message
	for _, m := range append(analyze.Set(set, analyze.Options{Mesh: statedir.Mesh(stateDir(cmd))}), analyze.Effects(set.All())...) {
		if a.allNamespaces || m.Key.Namespace == "" || m.Key.Namespace == a.namespace {
			found = append(found, m)
		}
	}
	if err := a.print(cmd, problems, found); err != nil {
		return err
	}
	if len(problems) > 0 {
		return reported{}
	}
	for _, m := range found {
		if m.Severity >= fail {
			return reported{}
		}
	}
	return nil
}

// record is a message in istioctl's JSON form.
type record struct {
	Code             string `json:"code"`
	DocumentationURL string `json:"documentationUrl,omitempty"`
	Level            string `json:"level"`
	Message          string `json:"message"`
	Origin           string `json:"origin"`
	Reference        string `json:"reference,omitempty"`
	Field            string `json:"field,omitempty"`
}

func (a *analyzeCommand) print(cmd *cobra.Command, problems config.Problems, found []analyze.Message) error {
	for _, p := range problems {
		fmt.Fprintln(cmd.ErrOrStderr(), p.Error())
	}
	out := cmd.OutOrStdout()
	records := []record{}
	for _, m := range found {
		r := record{Code: m.Code, Level: m.Severity.String(), Message: m.Text, Origin: m.Key.String(), Field: m.Field}
		if m.File != "" {
			r.Reference = fmt.Sprintf("%s:%d", m.File, m.Line)
		}
		if m.Code[:3] == "IST" {
			r.DocumentationURL = "https://istio.io/latest/docs/reference/config/analysis/" + m.Code + "/"
		}
		records = append(records, r)
	}
	switch a.output {
	case "json":
		enc := json.NewEncoder(out)
		enc.SetIndent("", "\t")
		enc.SetEscapeHTML(false)
		return enc.Encode(records)
	case "yaml":
		b, err := yaml.Marshal(records)
		if err != nil {
			return err
		}
		_, err = out.Write(b)
		return err
	case "log":
		a.log(out, cmd.ErrOrStderr(), len(problems), found)
		return nil
	}
	return fmt.Errorf("--output %q: use log, json or yaml", a.output)
}

func (a *analyzeCommand) log(out, stderr io.Writer, problems int, found []analyze.Message) {
	for _, m := range found {
		fmt.Fprintln(out, m)
	}
	if len(found) > 0 || problems > 0 {
		return
	}
	mark := "✔ "
	if os.Getenv("TERM") == "dumb" {
		mark = ""
	}
	if a.allNamespaces {
		fmt.Fprintln(stderr, mark+"No validation issues found when analyzing all namespaces.")
	} else {
		fmt.Fprintf(stderr, "%sNo validation issues found when analyzing namespace: %s.\n", mark, a.namespace)
	}
}
