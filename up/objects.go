package up

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/analyze"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/config/statedir"
	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// MeshFile is the file, at the top of the folder, with the mesh's settings (Istio's MeshConfig).
const MeshFile = "mesh.yaml"

// readObjects reads the folder's files of objects: those that are named, or else all of its YAML and JSON, but for the two that are something else.
func readObjects(dir string, named []string) ([]config.File, error) {
	var files []config.File
	var err error
	if len(named) == 0 {
		files, err = config.ReadTree(dir)
	} else {
		var paths []string
		for _, name := range named {
			paths = append(paths, filepath.Join(dir, name))
		}
		files, err = config.ReadFiles(paths, config.ReadOptions{Recursive: true})
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(files, func(f config.File) bool {
		return f.Name == filepath.Join(dir, AppsFile) || f.Name == filepath.Join(dir, MeshFile)
	}), nil
}

// outcome is what putting the files into the mesh has done.
type outcome struct {
	changes  []statedir.Change
	deleted  []config.Key
	warnings []analyze.Message
}

// apply puts the files' objects into the mesh's configuration, all or none, and takes out those that the folder held before and holds no more. What
// others have applied stays. Before anything is written it asks judge whether the rest of the folder fits the objects. The error is of type config.Problems when a
// file is wrong.
func apply(stateDir string, files []config.File, judge func([]*config.Object) error) (*outcome, error) {
	unlock, err := statedir.Lock(stateDir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	plan, err := statedir.Prepare(stateDir, files, statedir.PrepareOptions{Now: time.Now()})
	if err != nil {
		return nil, err
	}
	var objects []*config.Object
	for _, c := range plan.Changes {
		objects = append(objects, c.Object)
	}
	if err := judge(objects); err != nil {
		return nil, err
	}
	before, err := readOwn(stateDir)
	if err != nil {
		return nil, err
	}
	if err := plan.Commit(); err != nil {
		return nil, err
	}
	out := &outcome{changes: plan.Changes, warnings: plan.Warnings}
	var own []ownKey
	for _, c := range plan.Changes {
		own = append(own, ownKey{kindName(c.Object.Kind), c.Object.Namespace, c.Object.Name})
	}
	current, err := statedir.Read(stateDir)
	if current == nil {
		return nil, err
	}
	for _, k := range before {
		if slices.Contains(own, k) {
			continue
		}
		for _, o := range current.All() {
			if kindName(o.Kind) == k.Kind && o.Namespace == k.Namespace && o.Name == k.Name {
				out.deleted = append(out.deleted, o.Key())
			}
		}
	}
	if err := statedir.Delete(stateDir, current, out.deleted); err != nil {
		return nil, err
	}
	return out, writeOwn(stateDir, own)
}

// ownKey is an object that came from the folder.
type ownKey struct{ Kind, Namespace, Name string }

// kindName is a kind's name, with its group for those of the Gateway API: Istio has a Gateway too.
func kindName(k *schema.Kind) string {
	if k.GatewayAPI() {
		return k.Name + "." + k.Group
	}
	return k.Name
}

func ownFile(stateDir string) string { return filepath.Join(stateDir, "up.json") }

func readOwn(stateDir string) ([]ownKey, error) {
	raw, err := os.ReadFile(ownFile(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []ownKey
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("%s: %w; remove the file", ownFile(stateDir), err)
	}
	return out, nil
}

func writeOwn(stateDir string, own []ownKey) error {
	raw, err := json.Marshal(own)
	if err != nil {
		return err
	}
	return runfile.WriteFile(ownFile(stateDir), raw, 0o644)
}

// settings puts the folder's MeshConfig in force; without one it leaves what `lateen apply` has set.
func settings(dir, stateDir string) error {
	path := filepath.Join(dir, MeshFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := config.ParseMeshConfig(config.File{Name: path, Data: raw}); err != nil {
		return err
	}
	if old, err := os.ReadFile(statedir.MeshFile(stateDir)); err == nil && string(old) == string(raw) {
		return nil
	}
	return runfile.WriteFile(statedir.MeshFile(stateDir), raw, 0o644)
}

// describe says in a line each what has changed, and what the user should know of it.
func (o *outcome) describe() []string {
	var out []string
	for _, c := range o.changes {
		if c.Verb != statedir.Unchanged {
			out = append(out, fmt.Sprintf("%s/%s %s", c.Object.Kind.Resource(), c.Object.Name, c.Verb))
		}
	}
	for _, k := range o.deleted {
		out = append(out, fmt.Sprintf("%s/%s deleted", k.Kind.Resource(), k.Name))
	}
	return append(out, o.warned()...)
}

func (o *outcome) warned() []string {
	var out []string
	for _, w := range o.warnings {
		p := w.Problem()
		out = append(out, fmt.Sprintf("Warning: %s [%s]", p.Error(), w.Code))
	}
	return out
}
