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

// scan reads what changed and returns the difference to what was in force.
func (s *Store) scan() Batch {
	now := s.opts.Now()
	next := map[string]*entry{}
	var unreadable []string
	var problems config.Problems
	fail := func(path string, err error) {
		unreadable = append(unreadable, path)
		problems = append(problems, config.Problem{File: path, Text: plain(err)})
	}
	_ = filepath.WalkDir(s.opts.Dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != s.opts.Dir:
			return nil // gone since it was listed
		case err != nil:
			fail(path, err)
			return nil
		case d.IsDir():
			if path != s.opts.Dir && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		case !isConfig(d.Name()):
			return nil
		}
		e, err := s.read(path, now, s.files[path])
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			fail(path, err)
			return nil
		}
		if e != nil {
			next[path] = e
		}
		return nil
	})
	// What cannot be read is as it was: a folder that is away for a moment must not take the mesh with it.
	for path, e := range s.files {
		for _, root := range unreadable {
			if next[path] == nil && (path == root || strings.HasPrefix(path, root+string(filepath.Separator))) {
				next[path] = e
			}
		}
	}
	s.hold(next, now)
	mesh := s.scanMesh(now)
	// Files that were not read yet are suspects of the next scan, at once: those that the system names meanwhile join them.
	s.suspects, s.unsettled = s.unsettled, map[string]bool{}
	s.started = true
	return s.merge(next, problems, mesh)
}

// hold keeps what files held that are missed for the first time, or while others are being written. One that takes the place of another may have come into a folder
// that was read before it, or not have been read yet: between the two the mesh has neither.
func (s *Store) hold(next map[string]*entry, now time.Time) {
	missing := map[string]time.Time{}
	elsewhere := map[config.Key]bool{}
	for _, e := range next {
		for _, o := range e.objects {
			elsewhere[o.Key()] = true
		}
	}
	for path, e := range s.files {
		if next[path] != nil {
			continue
		}
		since, again := s.missing[path]
		if !again {
			since = now
		}
		if again && (len(s.unsettled) == 0 || now.Sub(since) >= emptied) {
			continue
		}
		missing[path] = since
		held := &entry{path: path, info: e.info} // should the file be back, it is read anew
		for _, o := range e.objects {
			if !elsewhere[o.Key()] {
				held.objects = append(held.objects, o)
			}
		}
		next[path] = held
	}
	s.missing = missing
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
