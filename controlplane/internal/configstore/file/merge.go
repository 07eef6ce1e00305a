package file

import (
	"fmt"
	"maps"
	"slices"

	"github.com/lateen-mesh/lateen/config"
)

// merge takes the files as they are now and returns what changed.
func (s *Store) merge(next map[string]*entry, problems config.Problems, mesh *entry) Batch {
	paths := slices.Sorted(maps.Keys(next))
	good := map[config.Key]*config.Object{}
	from := map[config.Key]*entry{}
	for _, path := range paths {
		e := next[path]
		problems = append(problems, e.problems...)
		for _, o := range e.objects {
			key := o.Key()
			if first := from[key]; first != nil {
				problems = append(problems, config.Problem{File: path, Line: o.Source.Line, Key: key, Field: "metadata.name",
					Text: fmt.Sprintf("%s is given twice, first at %s, which counts; remove one", key, good[key].Source)})
				continue
			}
			good[key], from[key] = o, e
		}
	}
	kept := s.keep(next, good)

	var b Batch
	for key, o := range good {
		old := s.objects[key]
		if old == o {
			continue
		}
		if old != nil {
			inheritAge(old, o, from[key])
		}
		b.Changed = append(b.Changed, o)
	}
	for key := range s.objects {
		if good[key] == nil {
			b.Deleted = append(b.Deleted, key)
		}
	}
	slices.SortFunc(b.Changed, func(a, c *config.Object) int { return compareKeys(a.Key(), c.Key()) })
	slices.SortFunc(b.Deleted, compareKeys)
	meshProblems := s.mergeMesh(mesh, &b)
	s.files, s.mesh = next, mesh
	b.Number = s.publish(good, append(problems, meshProblems...), kept, !b.empty())
	return b
}

// keep puts back the last good form of objects that turned bad. Where a mistake names no object (the YAML itself is broken), every object
// that the file held is meant.
func (s *Store) keep(next map[string]*entry, good map[config.Key]*config.Object) map[config.Key]bool {
	kept := map[config.Key]bool{}
	for key, old := range s.objects {
		if good[key] != nil {
			continue
		}
		e := next[old.Source.File]
		if e == nil {
			continue // the file is gone, and its objects with it
		}
		for _, p := range e.problems {
			if p.Key == key || p.Key.Kind == nil || p.Key.Name == "" {
				good[key] = old
				kept[key] = true
				break
			}
		}
	}
	return kept
}

// inheritAge keeps an object's age when its file is edited: objects that state no creation time have their file's, and editing a rule must
// not change which of two rules is the older.
func inheritAge(old, o *config.Object, e *entry) {
	if o.Created.Equal(e.info.ModTime()) && old.Created.Before(o.Created) {
		o.Created = old.Created
	}
}

// mergeMesh adds the mesh configuration to the batch when it changed and is good; the last good one stays in force otherwise.
func (s *Store) mergeMesh(e *entry, b *Batch) config.Problems {
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

// publish makes the new state visible to other goroutines and logs mistakes that appear and those that are gone. It returns the
// number of the state, a new one if anything changed.
func (s *Store) publish(objects map[config.Key]*config.Object, problems config.Problems, kept map[config.Key]bool, changed bool) uint64 {
	mistakes := make([]Mistake, 0, len(problems))
	for _, p := range problems {
		m := Mistake{Problem: p, Kept: kept[p.Key]}
		if p.File == s.opts.MeshFile {
			m.Kept = s.meshSent
		}
		if p.Key.Kind == nil || p.Key.Name == "" {
			for key := range kept {
				m.Kept = m.Kept || objects[key].Source.File == p.File
			}
		}
		mistakes = append(mistakes, m)
	}
	s.mu.Lock()
	old := s.mistakes
	s.objects, s.mistakes, s.synced = objects, mistakes, s.opts.Now()
	if changed {
		s.number++
	}
	number := s.number
	s.meshVersion = s.meshGood
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
