package proxycmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const good = `
static_resources:
  clusters:
  - {name: a, type: STATIC, connect_timeout: 1s}
`

func execute(args ...string) (string, error) {
	cmd := New("lateen-proxy")
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.Execute()
	if err != nil {
		PrintError(&out, err)
	}
	return out.String(), err
}

func TestValidate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		ok   bool
		want []string
	}{
		{"file", []string{"-c", file, "--mode", "validate"}, true, []string{"OK"}},
		{"text", []string{"--config-yaml", good, "--mode", "validate"}, true, []string{"OK"}},
		{"both", []string{"-c", file, "--config-yaml", "static_resources: {clusters: [{name: b}]}", "--mode", "validate"}, true, []string{"OK"}},
		{"the same cluster in both", []string{"-c", file, "--config-yaml", "static_resources: {clusters: [{name: a}]}", "--mode", "validate"}, false, []string{`cluster "a" stands twice`}},
		{
			"everything wrong at once",
			[]string{"--config-yaml", "nod: {}\nstatic_resources: {clusters: [{name: a, lb_polcy: x}], listeners: [{adress: {}}]}", "--mode", "validate"}, false,
			[]string{"3 problem(s)", "  nod: unknown field", "  static_resources.clusters[0].lb_polcy: unknown field", "  static_resources.listeners[0].adress: unknown field"},
		},
		{"nothing", []string{"--mode", "validate"}, false, []string{"-c", "--config-yaml"}},
		{"no such mode", []string{"--config-yaml", good, "--mode", "init_only"}, false, []string{"use serve or validate"}},
		{"no such file", []string{"-c", file + "x"}, false, []string{"no such file"}},
		{"unknown flag", []string{"--base-id", "1"}, false, []string{"--base-id"}},
		{"negative concurrency", []string{"--config-yaml", good, "--concurrency=-1"}, false, []string{"cannot be negative"}},
		{"log level", []string{"--config-yaml", good, "-l", "loud"}, false, []string{`"loud" is no log level`}},
		{"component", []string{"--config-yaml", good, "--component-log-level", "nonsense:debug"}, false, []string{`no logger is called "nonsense"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := execute(tt.args...)
			if (err == nil) != tt.ok {
				t.Errorf("err = %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
		})
	}
}
