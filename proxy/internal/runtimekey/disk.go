package runtimekey

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Limits of a disk layer. The first is Envoy's; the others keep a wrong path from filling memory.
const (
	maxDepth = 16
	maxFile  = 64 << 10
	maxFiles = 10000
)

// readDisk reads a directory: a file is a value, and its path, with dots, the key. false: there is no
// such directory.
func readDisk(dir string) (map[string]*Value, bool, error) {
	if st, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir() {
		return nil, false, nil
	}
	out := map[string]*Value{}
	err := walk(dir, "", 1, out)
	return out, true, err
}

func walk(dir, prefix string, depth int, out map[string]*Value) error {
	if depth > maxDepth {
		return fmt.Errorf("runtime directory %s is more than %d levels deep", dir, maxDepth)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path, key := filepath.Join(dir, e.Name()), prefix+e.Name()
		st, err := os.Stat(path) // follows links, as in a ConfigMap's volume
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(e.Name(), "..") && st.IsDir():
			// A ConfigMap's volume keeps its versions in such, and links to the files beside them.
		case st.IsDir():
			if err := walk(path, key+".", depth+1, out); err != nil {
				return err
			}
		case st.Mode().IsRegular():
			if len(out) >= maxFiles {
				return fmt.Errorf("runtime directory %s holds more than %d files", dir, maxFiles)
			}
			text, err := readValue(path)
			if err != nil {
				return err
			}
			out[key] = Parse(text)
		}
	}
	return nil
}

// readValue reads a file without its comments, lines that begin with #, and without the space at its
// end.
func readValue(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", err
	}
	if len(raw) > maxFile {
		return "", fmt.Errorf("runtime value %s is larger than %d bytes", path, maxFile)
	}
	var b strings.Builder
	for line := range strings.Lines(string(raw)) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return strings.TrimRight(b.String(), " \t\r\n"), nil
}
