package file

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
)

const (
	// racy is how long after its last change a file may change again without its time telling so.
	racy = 2 * time.Second
	// settling is how long a file that is written in place must have been left alone before it is read: programs that write in place empty a file first, and what
	// is read in between lacks objects that nobody has deleted.
	settling = 30 * time.Millisecond
	// emptied is the same for a file that held objects and is empty now.
	emptied = 500 * time.Millisecond
)

// entry is one file as it was last read.
type entry struct {
	path     string
	info     fs.FileInfo
	readAt   time.Time
	hash     [sha256.Size]byte
	data     []byte // of the mesh file only
	objects  []*config.Object
	problems config.Problems
}

// given are the objects of an entry, none of one that is nil.
func (e *entry) given() []*config.Object {
	if e == nil {
		return nil
	}
	return e.objects
}

// look is what one scan finds.
type look struct {
	now     time.Time
	changed map[string]*entry // by path, of files that are not as they were; nil: gone
	failed  map[string]error  // files and folders that cannot be read, by path
}

// scan reads the whole tree and returns the difference to what was in force. Files that are as they were cost a look at their times.
func (s *Store) scan() configstore.Batch {
	l := &look{now: s.opts.Now(), changed: map[string]*entry{}, failed: map[string]error{}}
	seen := make(map[string]bool, len(s.files))
	_ = filepath.WalkDir(s.opts.Dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != s.opts.Dir:
			return nil // gone since it was listed
		case err != nil:
			l.failed[path] = err
			return nil
		case d.IsDir():
			if path != s.opts.Dir && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		case !isConfig(d.Name()):
			return nil
		}
		seen[path] = true
		s.lookAt(l, path)
		return nil
	})
	for path := range s.files {
		if !seen[path] && !l.below(path) {
			l.changed[path] = nil
		}
	}
	s.failed = l.failed
	return s.finish(l)
}

// below says that a file is in a folder that cannot be read. It is as it was: a folder that is away for a moment must not take the mesh with it.
func (l *look) below(path string) bool {
	for root := range l.failed {
		if strings.HasPrefix(path, root+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

// scanNamed is scan where what may have changed is known: these files and no others. It costs what they cost, whatever the size of the tree.
func (s *Store) scanNamed(paths []string) configstore.Batch {
	l := &look{now: s.opts.Now(), changed: map[string]*entry{}, failed: map[string]error{}}
	for _, path := range paths {
		s.lookAt(l, path)
	}
	for _, path := range paths {
		if err := l.failed[path]; err != nil {
			s.failed[path] = err
		} else {
			delete(s.failed, path)
		}
	}
	return s.finish(l)
}

// named returns the files that may have changed by what the file system has said; false when only a look at the whole tree can tell: a folder
// came, went or could not be read.
func (s *Store) named(watched func(dir string) bool) ([]string, bool) {
	var paths []string
	for path := range s.missing {
		paths = append(paths, path)
	}
	for path := range s.suspects {
		info, err := os.Lstat(path)
		switch {
		case err == nil && info.IsDir(), err != nil && watched(path):
			return nil, false
		case path == s.opts.MeshFile: // it is looked at each time
		case !isConfig(filepath.Base(path)):
		default:
			if _, too := s.missing[path]; !too {
				paths = append(paths, path)
			}
		}
	}
	for path := range s.failed {
		if info, err := os.Lstat(path); err != nil || info.IsDir() {
			return nil, false
		}
	}
	return paths, true
}

// lookAt notes how a file differs from what was read of it last.
func (s *Store) lookAt(l *look, path string) {
	old := s.files[path]
	e, err := s.read(path, l.now, old)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e = nil
	case err != nil:
		l.failed[path] = err // it is as it was
		return
	}
	if e != old {
		l.changed[path] = e
	}
}

// finish merges what a scan found.
func (s *Store) finish(l *look) configstore.Batch {
	s.hold(l)
	mesh := s.scanMesh(l.now)
	// Files that were not read yet are suspects of the next scan, at once: those that the system names meanwhile join them.
	s.suspects, s.unsettled = s.unsettled, map[string]bool{}
	s.started = true
	return s.merge(l.changed, mesh)
}

// hold keeps what files held that are missed for the first time, or while others are being written. One that takes the place of another may have come into a folder
// that was read before it, or not have been read yet: between the two the mesh has neither.
func (s *Store) hold(l *look) {
	missing := map[string]time.Time{}
	var comes map[config.Key]bool // in files that changed, made when it is needed
	for path, e := range l.changed {
		old := s.files[path]
		if e != nil || old == nil {
			continue
		}
		since, again := s.missing[path]
		if !again {
			since = l.now
		}
		if again && (len(s.unsettled) == 0 || l.now.Sub(since) >= emptied) {
			continue
		}
		if comes == nil {
			comes = map[config.Key]bool{}
			for _, e := range l.changed {
				for _, o := range e.given() {
					comes[o.Key()] = true
				}
			}
		}
		missing[path] = since
		held := &entry{path: path, info: old.info} // should the file be back, it is read anew
		for _, o := range old.objects {
			if !comes[o.Key()] && !s.stays(o.Key(), l) {
				held.objects = append(held.objects, o)
			}
		}
		l.changed[path] = held
	}
	s.missing = missing
}

// stays says that an object is in a file that did not change.
func (s *Store) stays(key config.Key, l *look) bool {
	for _, g := range s.givers[key] {
		if _, changed := l.changed[g.path]; !changed {
			return true
		}
	}
	return false
}

// read returns a file's entry: the old one when the file is the same. It is nil for what is no regular file.
func (s *Store) read(path string, now time.Time, old *entry) (*entry, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil
	}
	written, named := s.suspects[path]
	if old != nil && !named && os.SameFile(info, old.info) && info.Size() == old.info.Size() &&
		info.ModTime().Equal(old.info.ModTime()) && old.readAt.Sub(info.ModTime()) > racy {
		return old, nil
	}
	// The time is taken after the file's: what is written between a scan's begin and its look at the file is not from the future.
	complete := named && !written && info.Size() > 0 // it was renamed to its name, as `lateen apply` does
	if s.started && !complete && unsettled(info, old, s.opts.Now()) {
		s.unsettled[path] = true
		return old, nil
	}
	data, err := readAtMost(path, config.MaxFileSize+1)
	if err != nil {
		return nil, err
	}
	e := &entry{path: path, info: info, readAt: now, hash: sha256.Sum256(data)}
	if old != nil && e.hash == old.hash {
		e.objects, e.problems, e.data = old.objects, old.problems, old.data
		return e, nil
	}
	if path == s.opts.MeshFile {
		e.data = data
		if _, err := config.ParseMeshConfig(s.meshFile(e)); err != nil {
			e.problems = config.AsProblems(err)
		}
		return e, nil
	}
	set, err := config.Load([]config.File{{Name: path, Data: data, ModTime: info.ModTime()}}, config.LoadOptions{})
	e.problems = config.AsProblems(err)
	for _, o := range set.All() {
		if s.opts.Accept != nil {
			if err := s.opts.Accept(o.Kind); err != nil {
				e.problems = append(e.problems, config.Problem{File: path, Line: o.Source.Line, Key: o.Key(), Field: "kind", Text: err.Error()})
				continue
			}
		}
		o.ResourceVersion = config.FileVersion(e.hash)
		e.objects = append(e.objects, o)
	}
	return e, nil
}

// unsettled says that somebody may be writing the file just now.
func unsettled(info fs.FileInfo, old *entry, now time.Time) bool {
	age := now.Sub(info.ModTime())
	if age < 0 {
		return false // its clock is not ours
	}
	held := old != nil && (len(old.objects) > 0 || len(old.data) > 0)
	return age < settling || held && info.Size() == 0 && age < emptied
}

// scanMesh reads the mesh configuration's file; nil when there is none.
func (s *Store) scanMesh(now time.Time) *entry {
	if s.opts.MeshFile == "" {
		return nil
	}
	e, err := s.read(s.opts.MeshFile, now, s.mesh)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &entry{path: s.opts.MeshFile, problems: config.Problems{{File: s.opts.MeshFile, Text: plain(err)}}}
	}
	return e
}

func (s *Store) meshFile(e *entry) config.File {
	return config.File{Name: s.opts.MeshFile, Data: e.data, ModTime: e.info.ModTime()}
}

func readAtMost(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

// plain is the error without the path, which stands before it already.
func plain(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Op + ": " + p.Err.Error()
	}
	return err.Error()
}
