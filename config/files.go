package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// ReadOptions adjust ReadFiles.
type ReadOptions struct {
	// Recursive also reads the folders below a folder.
	Recursive bool
	// Stdin is read for the path "-". Nil refuses it.
	Stdin io.Reader
}

// ReadFiles reads what -f names: files, folders (their .yaml, .yml and .json files, sorted) and
// "-". A file is read whatever its name. A folder without such files, and a path that does not
// exist, is an error that names it.
func ReadFiles(paths []string, opts ReadOptions) ([]File, error) {
	var out []File
	for _, p := range paths {
		if p == "-" {
			if opts.Stdin == nil {
				return nil, errors.New("standard input can be given once")
			}
			b, err := io.ReadAll(io.LimitReader(opts.Stdin, MaxFileSize+1))
			if err != nil {
				return nil, fmt.Errorf("reading standard input: %w", err)
			}
			out = append(out, File{Name: "-", Data: b})
			opts.Stdin = nil
			continue
		}
		info, err := os.Stat(p)
		if err != nil {
			return nil, pathError(p, err)
		}
		if !info.IsDir() {
			f, err := readFile(p)
			if err != nil {
				return nil, err
			}
			out = append(out, f)
			continue
		}
		found, err := readFolder(p, opts.Recursive)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			hint := ""
			if !opts.Recursive {
				hint = "; use -R to read the folders below it"
			}
			return nil, fmt.Errorf("%s: the folder holds no .yaml, .yml or .json file%s", p, hint)
		}
		out = append(out, found...)
	}
	return out, nil
}

func pathError(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: no such file or folder", path)
	}
	return err
}

func readFolder(dir string, recursive bool) ([]File, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != dir && (!recursive || strings.HasPrefix(d.Name(), ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if IsConfigFile(d.Name()) {
			names = append(names, path)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	out := make([]File, 0, len(names))
	for _, n := range names {
		f, err := readFile(n)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// IsConfigFile reports whether a file of that name is read from a folder: .yaml, .yml or .json,
// and not hidden (editors and atomic writers keep their work in hidden files).
func IsConfigFile(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func readFile(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, pathError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return File{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return File{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return File{Name: path, Data: b, ModTime: info.ModTime()}, nil
}

// FileVersion is the ResourceVersion of the objects in a file with that SHA-256 sum.
func FileVersion(sum [sha256.Size]byte) string { return fmt.Sprintf("%x", sum[:8]) }

// ReadTree reads all configuration files below a folder. A folder without any is fine.
func ReadTree(dir string) ([]File, error) { return readFolder(dir, true) }
