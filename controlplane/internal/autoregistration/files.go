package autoregistration

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// folder is where entries are, below the registry's.
const folder = "registered"

// files keeps entries below a folder, one file each.
type files struct{ dir string }

func (f files) path(namespace, name string) string {
	return filepath.Join(f.dir, folder, namespace, name+".yaml")
}

// write puts an entry into its file, in one step. It refuses one that the registry would not take.
func (f files) write(e *entry) error {
	text, err := e.yaml()
	if err != nil {
		return err
	}
	path := f.path(e.namespace, e.name)
	if _, err := config.Load([]config.File{{Name: e.key(), Data: text}}, config.LoadOptions{}); err != nil {
		return fmt.Errorf("its WorkloadEntry would not be valid: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("folder of WorkloadEntries: %w", err)
	}
	if err := runfile.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("WorkloadEntry %s: %w", e.key(), err)
	}
	return nil
}

// remove takes an entry's file away; one that is gone is no error.
func (f files) remove(namespace, name string) error {
	if err := os.Remove(f.path(namespace, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("WorkloadEntry %s/%s: %w", namespace, name, err)
	}
	return nil
}

// read returns the entries that an earlier process has left, with what is needed of them when their proxies come back, or do not. Files that cannot be
// read are the registry's to report.
func (f files) read() ([]entry, error) {
	dir := filepath.Join(f.dir, folder)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	read, err := config.ReadTree(dir)
	if err != nil {
		return nil, fmt.Errorf("WorkloadEntries of an earlier process: %w", err)
	}
	set, _ := config.Load(read, config.LoadOptions{})
	var out []entry
	for _, o := range set.List(schema.WorkloadEntry) {
		group := o.Annotations[groupAnnotation]
		if group == "" || o.Source.File != f.path(o.Namespace, o.Name) {
			continue // somebody else's
		}
		out = append(out, entry{
			namespace: o.Namespace, name: o.Name, group: &model.WorkloadGroup{Namespace: o.Namespace, Name: group},
			created: o.Created, controller: o.Annotations[controllerAnnotation], checks: o.Annotations[checksAnnotation] == "true",
			connected: parseStamp(o.Annotations[connectedAtAnnotation]), disconnected: parseStamp(o.Annotations[disconnectedAnnotation]),
			health: o.Condition(config.ConditionHealthy),
		})
	}
	return out, nil
}

func parseStamp(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t
}
