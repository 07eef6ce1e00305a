package file

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
)

// giver is a file that an object is in.
type giver struct {
	path   string
	object *config.Object
}

// merge takes the files that changed (nil: gone) and returns what changed by that. Its cost follows theirs.
func (s *Store) merge(changed map[string]*entry, mesh *entry) configstore.Batch {
	var b configstore.Batch
	objects := map[config.Key]*config.Object{} // that differ; nil: gone
	for key := range s.reassign(changed) {
		old := s.objects[key]
		o := s.inForce(key, old)
		switch {
		case o == old:
		case o == nil:
			objects[key], b.Deleted = nil, append(b.Deleted, key)
		default:
			if old != nil {
				inheritAge(old, o, s.files[s.givers[key][0].path])
			}
			objects[key], b.Changed = o, append(b.Changed, o)
		}
	}
	slices.SortFunc(b.Changed, func(a, c *config.Object) int { return configstore.CompareKeys(a.Key(), c.Key()) })
	slices.SortFunc(b.Deleted, configstore.CompareKeys)
	meshProblems := s.mergeMesh(mesh, &b)
	s.mesh = mesh
	b.Number = s.publish(objects, meshProblems, !b.Empty())
	return b
}

// reassign puts changed files into the indexes and returns the objects whose form in force may differ by that.
func (s *Store) reassign(changed map[string]*entry) map[config.Key]bool {
	touched := map[config.Key]bool{}
	for _, path := range slices.Sorted(maps.Keys(changed)) {
		for _, o := range s.files[path].given() {
			touched[o.Key()] = true
		}
		if changed[path] == nil {
			delete(s.files, path)
			delete(s.wrong, path)
			continue
		}
		s.files[path] = changed[path]
		if len(changed[path].problems) > 0 {
			s.wrong[path] = true
		} else {
			delete(s.wrong, path)
		}
		for _, o := range changed[path].objects {
			touched[o.Key()] = true
		}
	}
	for key := range s.kept {
		if _, is := changed[s.objects[key].Source.File]; is {
			touched[key] = true
		}
	}
	for key := range touched {
		s.givers[key] = slices.DeleteFunc(s.givers[key], func(g giver) bool { _, is := changed[g.path]; return is })
	}
	for path, e := range changed {
		for _, o := range e.given() {
			s.givers[o.Key()] = append(s.givers[o.Key()], giver{path, o})
		}
	}
	for key := range touched {
		givers := s.givers[key]
		slices.SortStableFunc(givers, func(a, b giver) int { return strings.Compare(a.path, b.path) })
		if len(givers) == 0 {
			delete(s.givers, key)
		}
		if len(givers) > 1 {
			s.twice[key] = true
		} else {
			delete(s.twice, key)
		}
	}
	return touched
}

// inForce returns the form of an object that counts: that of the first file that has it, or the last good one when it turned bad. Where a mistake
// names no object (the YAML itself is broken), every object that the file held is meant.
func (s *Store) inForce(key config.Key, old *config.Object) *config.Object {
	delete(s.kept, key)
	if givers := s.givers[key]; len(givers) > 0 {
		return givers[0].object
	}
	if old == nil || s.files[old.Source.File] == nil {
		return nil // the file is gone, and its objects with it
	}
	for _, p := range s.files[old.Source.File].problems {
		if p.Key == key || p.Key.Kind == nil || p.Key.Name == "" {
			s.kept[key] = true
			return old
		}
	}
	return nil
}

// inheritAge keeps an object's age when its file is edited: objects that state no creation time have their file's, and editing a rule must
// not change which of two rules is the older.
func inheritAge(old, o *config.Object, e *entry) {
	if o.Created.Equal(e.info.ModTime()) && old.Created.Before(o.Created) {
		o.Created = old.Created
	}
}

// mergeMesh adds the mesh configuration to the batch when it changed and is good; the last good one stays in force otherwise.
func (s *Store) mergeMesh(e *entry, b *configstore.Batch) config.Problems {
	if s.opts.MeshFile == "" {
		return nil
	}
	if e == nil {
		if s.meshSent && s.meshGood != "" || !s.meshSent {
			b.Mesh = &config.File{Name: s.opts.MeshFile}
		}
		s.meshGood, s.meshSent = "", true
		return nil
	}
	if len(e.problems) > 0 {
		return e.problems
	}
	if version := config.FileVersion(e.hash); version != s.meshGood {
		f := s.meshFile(e)
		b.Mesh, s.meshGood = &f, version
	}
	s.meshSent = true
	return nil
}

// problems returns what is wrong in the files now, by file and line.
func (s *Store) problems(mesh config.Problems) config.Problems {
	var out config.Problems
	for path, err := range s.failed {
		out = append(out, config.Problem{File: path, Text: plain(err)})
	}
	for path := range s.wrong {
		out = append(out, s.files[path].problems...)
	}
	for key := range s.twice {
		first := s.givers[key][0]
		for _, g := range s.givers[key][1:] {
			out = append(out, config.Problem{File: g.path, Line: g.object.Source.Line, Key: key, Field: "metadata.name",
				Text: fmt.Sprintf("%s is given twice, first at %s, which counts; remove one", key, first.object.Source)})
		}
	}
	slices.SortStableFunc(out, func(a, b config.Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Field, b.Field), strings.Compare(a.Text, b.Text))
	})
	return append(out, mesh...)
}

// publish makes the new state visible to other goroutines and logs mistakes that appear and those that are gone. It returns the
// number of the state, a new one if anything changed.
func (s *Store) publish(objects map[config.Key]*config.Object, mesh config.Problems, changed bool) uint64 {
	s.mu.Lock()
	for key, o := range objects {
		if o == nil {
			delete(s.objects, key)
		} else {
			s.objects[key] = o
		}
	}
	if changed {
		s.number++
	}
	number := s.number
	s.meshVersion = s.meshGood
	s.mu.Unlock()
	var mistakes []configstore.Mistake
	for _, p := range s.problems(mesh) {
		m := configstore.Mistake{Problem: p, Kept: s.kept[p.Key]}
		if p.File == s.opts.MeshFile {
			m.Kept = s.meshSent
		}
		if p.Key.Kind == nil || p.Key.Name == "" {
			for key := range s.kept {
				m.Kept = m.Kept || s.objects[key].Source.File == p.File
			}
		}
		mistakes = append(mistakes, m)
	}
	s.mu.Lock()
	old := s.mistakes
	s.mistakes = mistakes
	s.mu.Unlock()
	for _, m := range mistakes {
		if !slices.Contains(old, m) {
			s.log.Error("configuration is not valid", "problem", m.Problem.Error(), "lastGoodKept", m.Kept)
		}
	}
	for _, m := range old {
		if !slices.Contains(mistakes, m) {
			s.log.Info("configuration is valid again", "file", m.File, "object", keyText(m.Key))
		}
	}
	return number
}

func keyText(k config.Key) string {
	if k.Kind == nil {
		return ""
	}
	return k.String()
}
