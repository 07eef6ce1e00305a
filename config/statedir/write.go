package statedir

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

// Verb says what happened to an object, in kubectl's words.
type Verb string

// The verbs.
const (
	Created    Verb = "created"
	Configured Verb = "configured"
	Unchanged  Verb = "unchanged"
	Deleted    Verb = "deleted"
)

// Change is what happens to one object.
type Change struct {
	Object *config.Object
	Verb   Verb
}

// Lock keeps other writers of the directory away until the returned function is called. It makes
// the config folder if there is none.
func Lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(ConfigDir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder for configuration: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(ConfigDir(dir), ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the configuration: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil // closing releases the lock
}

// Plan compares objects with what the directory holds and returns the change of each, in the
// same order. Objects get the creation time of what they replace, else now, and a generation
// that grows with each change of content.
func Plan(current *config.Set, objects []*config.Object, now time.Time) []Change {
	changes := make([]Change, len(objects))
	for i, o := range objects {
		old := current.Lookup(o.Key())
		switch {
		case old == nil:
			changes[i] = Change{o.Stamp(now, 1), Created}
		case config.Same(old, o):
			changes[i] = Change{old, Unchanged}
		case config.SameSpec(old, o):
			changes[i] = Change{o.Stamp(old.Created, max(old.Generation, 1)), Configured}
		default:
			changes[i] = Change{o.Stamp(old.Created, max(old.Generation, 1)+1), Configured}
		}
	}
	return changes
}

// Apply writes the planned changes, all or none. The caller holds the lock. An object that lives
// in a file made by hand, with others beside it, moves to a file of its own.
func Apply(dir string, current *config.Set, changes []Change) error {
	// Routes last: whoever reads in between finds the subsets that they name.
	changes = slices.Clone(changes)
	slices.SortStableFunc(changes, func(a, b Change) int { return cmp.Compare(rank(a.Object.Kind), rank(b.Object.Kind)) })
	var t transaction
	for _, c := range changes {
		if c.Verb == Unchanged {
			continue
		}
		text, err := c.Object.Text()
		if err != nil {
			return err
		}
		path := Path(dir, c.Object.Key())
		if old := current.Lookup(c.Object.Key()); old != nil {
			if err := t.cut(old); err != nil {
				return err
			}
		}
		s := t.step(path)
		s.add = append(s.add, text)
		s.shared = s.shared || sharesFile(current, path, c.Object.Key())
		if c.Object.Kind == schema.Secret {
			s.mode = 0o600
		}
		if config.IsMeshConfig(c.Object.Key()) {
			t.step(MeshFile(dir)).add = [][]byte{[]byte(c.Object.Spec.(*corev1.ConfigMap).Data["mesh"])}
		}
	}
	return t.commit()
}

func rank(k *schema.Kind) int {
	if k == schema.VirtualService {
		return 1
	}
	return 0
}

// sharesFile reports whether the file holds objects other than the one of the key.
func sharesFile(current *config.Set, path string, k config.Key) bool {
	for _, o := range current.All() {
		if o.Key() != k && sameFile(o.Source.File, path) {
			return true
		}
	}
	return false
}

// Delete removes objects, all or none. The caller holds the lock.
func Delete(dir string, current *config.Set, keys []config.Key) error {
	var t transaction
	for _, k := range keys {
		old := current.Lookup(k)
		if old == nil {
			return fmt.Errorf("%s does not exist", k)
		}
		if err := t.cut(old); err != nil {
			return err
		}
		if config.IsMeshConfig(k) {
			t.step(MeshFile(dir)) // nothing to add: the file goes
		}
	}
	return t.commit()
}

func sameFile(a, b string) bool {
	x, errX := filepath.Abs(a)
	y, errY := filepath.Abs(b)
	return errX == nil && errY == nil && x == y
}

// transaction collects writes and removals of files.
type transaction struct {
	steps []*step
}

// step is what happens to one file: documents are cut out of it, others are added. A file in
// which nothing is left is removed.
type step struct {
	path   string
	mode   fs.FileMode
	cuts   map[int]bool // lines on which the documents to be cut begin
	add    [][]byte
	shared bool // what the file holds besides stays

	before []byte // the file as it was, nil if there was none
	temp   string // the new text, beside the file
	done   bool
}

func (t *transaction) step(path string) *step {
	for _, s := range t.steps {
		if sameFile(s.path, path) {
			return s
		}
	}
	s := &step{path: path, mode: 0o644}
	t.steps = append(t.steps, s)
	return s
}

// cut takes an object out of its file.
func (t *transaction) cut(o *config.Object) error {
	s := t.step(o.Source.File)
	if s.cuts == nil {
		s.cuts = map[int]bool{}
	}
	s.cuts[o.Source.Line] = true
	s.shared = true
	// Tell now, by the object's name, if it cannot be cut out.
	b, err := os.ReadFile(s.path)
	if err == nil {
		_, err = config.CutDocuments(b, map[int]bool{o.Source.Line: true})
	}
	if err != nil {
		return fmt.Errorf("%s is in %s: %w", o, o.Source, err)
	}
	return nil
}

// commit prepares every file beside its place, then swaps all.
func (t *transaction) commit() error {
	defer t.clean()
	for _, s := range t.steps {
		if err := s.prepare(); err != nil {
			return err
		}
	}
	return t.swap()
}

// swap puts every prepared file in place; a failure takes back what was swapped.
func (t *transaction) swap() error {
	for _, s := range t.steps {
		if err := s.swap(); err != nil {
			for _, d := range t.steps {
				if d.done {
					err = errors.Join(err, d.takeBack())
				}
			}
			return err
		}
	}
	return nil
}

// clean removes what was prepared and not swapped.
func (t *transaction) clean() {
	for _, s := range t.steps {
		if s.temp != "" {
			os.Remove(s.temp)
		}
	}
}

func (s *step) prepare() error {
	b, err := os.ReadFile(s.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.before = b
	if len(s.add) > 0 && !s.shared && config.Documents(b) > 1 {
		// None of its objects could be read, or they would be cut out one by one.
		return fmt.Errorf("%s holds several documents with mistakes, and would be replaced: mend or move it first", s.path)
	}
	var text []byte
	if s.shared {
		if text, err = config.CutDocuments(b, s.cuts); err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
	}
	for _, add := range s.add {
		if len(text) > 0 {
			text = append(bytes.TrimRight(text, "\n"), "\n---\n"...)
		}
		text = append(text, add...)
	}
	if len(text) == 0 && len(s.add) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		return err
	}
	s.temp, err = writeTemp(s.path, text, s.mode)
	return err
}

// writeTemp writes a hidden file beside the path, flushed to disk.
func writeTemp(path string, text []byte, mode fs.FileMode) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("writing %s: %w", path, err)
	}
	return f.Name(), nil
}

func (s *step) swap() error {
	var err error
	if s.temp == "" {
		if err = os.Remove(s.path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else if err = os.Rename(s.temp, s.path); err == nil {
		s.temp = ""
	}
	s.done = err == nil
	return err
}

func (s *step) takeBack() error {
	if s.before == nil {
		return os.Remove(s.path)
	}
	temp, err := writeTemp(s.path, s.before, s.mode)
	if err != nil {
		return err
	}
	return os.Rename(temp, s.path)
}
