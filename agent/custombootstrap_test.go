package agent

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bootstrappb "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
)

// TestCustomBootstrap: the proxy has the user's own bootstrap, as it is, where the host or the mesh names one; one that cannot be is named.
func TestCustomBootstrap(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	own, meshs := write("own.yaml", "# mine\nnode: {id: own}\n"), write("meshs.json", `{"node": {"id": "meshs"}}`)
	var logged bytes.Buffer
	cfg := bootstrapConfig()
	cfg.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	for _, tt := range []struct{ host, mesh, want string }{
		{own, "", `{"node":{"id":"own"}}`}, {own, meshs, `{"node":{"id":"own"}}`}, {"", meshs, `{"node":{"id":"meshs"}}`},
	} {
		c := cfg
		c.BootstrapFile = tt.host
		got, err := c.apply(settings{bootstrapFile: tt.mesh}).bootstrap("/x/socket")
		if err != nil || string(got) != tt.want {
			t.Errorf("host %q, mesh %q: %s, %v", tt.host, tt.mesh, got, err)
		}
	}
	cfg.CheckBootstrap = func(text []byte) error {
		if bytes.Contains(text, []byte("admin")) {
			return errors.New("admin: is odd")
		}
		return nil
	}
	for name, tt := range map[string]struct{ path, want string }{
		"absent":        {filepath.Join(dir, "absent"), "customConfigFile: open " + dir},
		"a folder":      {dir, "customConfigFile: read " + dir},
		"no YAML":       {write("bad.yaml", "a: [b"), "bad.yaml: yaml: "},
		"a list":        {write("list.yaml", "[a]"), "list.yaml: yaml: "},
		"no JSON":       {write("number.yaml", "a: .nan"), "number.yaml: json: unsupported value"},
		"empty":         {write("empty.yaml", "# nothing\n"), "empty.yaml: is empty"},
		"no bootstrap":  {write("odd.yaml", "{admin: 1}"), "odd.yaml: admin: is odd"},
		"far too large": {write("large.yaml", "a: "+strings.Repeat("x", maxBootstrap)), "large.yaml: is larger than 4194304 bytes"},
	} {
		c := cfg
		c.BootstrapFile = tt.path
		if got, err := c.bootstrap("/x/socket"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %s, %v, want %s", name, got, err, tt.want)
		}
	}
	cfg.BootstrapFile, cfg.patch = own, &bootstrappb.Bootstrap{FlagsPath: "/x"}
	if _, err := cfg.bootstrap("/x/socket"); err != nil || !strings.Contains(logged.String(), "have no effect on a custom one") {
		t.Errorf("%v, logged %s", err, logged.String())
	}
}
