package statedir

import (
	"fmt"
	"sort"
	"time"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/analyze"
)

// Prepared is a set of objects that has been compared with what a directory holds and found good.
type Prepared struct {
	// Changes are in the order of the files.
	Changes []Change
	// Warnings are what the user should know: about the objects themselves, and about others
	// that the change would break.
	Warnings []analyze.Message

	dir     string
	current *config.Set
}

// PrepareOptions adjust Prepare.
type PrepareOptions struct {
	// Namespace is given to objects that name none. Empty means "default".
	Namespace string
	// Only refuses objects of namespaces other than Namespace.
	Only bool
	// Now stamps new objects.
	Now time.Time
}

// Prepare loads files and says what applying them would change. The error is of type
// config.Problems if anything in the files is wrong; then nothing may be applied.
func Prepare(dir string, files []config.File, opts PrepareOptions) (*Prepared, error) {
	set, err := config.Load(files, config.LoadOptions{Namespace: opts.Namespace, KeepText: true})
	problems := config.AsProblems(err)
	if opts.Only {
		problems = append(problems, foreign(set, opts.Namespace)...)
	}
	current, err := Read(dir)
	if current == nil {
		return nil, err
	}
	running, err := read(WorkloadsDir(dir))
	if running == nil {
		return nil, err
	}
	before := running.With(current)
	p := &Prepared{dir: dir, current: current}
	around := analyze.Options{Mesh: Mesh(dir)}
	messages := analyze.Set(before.With(set), around)
	// A file with mistakes is not compared with the rest: what it lacks would be reported
	// as missing.
	if len(problems) == 0 {
		p.Warnings, problems = judge(messages, analyze.Set(before, around), set)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	objects := inOrder(files, set)
	p.Warnings = append(p.Warnings, analyze.Effects(objects)...)
	order := position(files)
	sort.SliceStable(p.Warnings, func(i, j int) bool {
		x, y := p.Warnings[i], p.Warnings[j]
		if order(x.File) != order(y.File) {
			return order(x.File) < order(y.File)
		}
		return x.Line < y.Line
	})
	p.Changes = Plan(current, objects, opts.Now)
	return p, nil
}

// Commit writes the changes. The caller holds the lock since before Prepare.
func (p *Prepared) Commit() error { return Apply(p.dir, p.current, p.Changes) }

// judge picks the messages that concern the user now: all about the set's objects, and those
// about others that were not there before.
func judge(after, before []analyze.Message, set *config.Set) ([]analyze.Message, config.Problems) {
	type id struct {
		key         config.Key
		code, field string
	}
	known := map[id]bool{}
	for _, m := range before {
		known[id{m.Key, m.Code, m.Field}] = true
	}
	var warnings []analyze.Message
	var problems config.Problems
	for _, m := range after {
		ours := set.Lookup(m.Key) != nil
		switch {
		case m.Severity == analyze.Info:
		case ours && m.Severity == analyze.Refuse:
			problems = append(problems, m.Problem())
		case ours || !known[id{m.Key, m.Code, m.Field}]:
			warnings = append(warnings, m)
		}
	}
	return warnings, problems
}

// Consequences returns what removing objects would break in others.
func Consequences(current *config.Set, keys []config.Key) []analyze.Message {
	warnings, _ := judge(analyze.Set(current.Without(keys...), analyze.Options{}), analyze.Set(current, analyze.Options{}), config.NewSet())
	return warnings
}

func foreign(set *config.Set, namespace string) config.Problems {
	var ps config.Problems
	for _, o := range set.All() {
		if o.Kind.Namespaced && o.Namespace != namespace {
			ps = append(ps, config.Problem{File: o.Source.File, Line: o.Position("metadata.namespace"), Key: o.Key(), Field: "metadata.namespace",
				Text: fmt.Sprintf("%q is not the namespace %q that -n names; leave -n out, or pass -n %s", o.Namespace, namespace, o.Namespace)})
		}
	}
	return ps
}

// position returns where in the list of files a file stands.
func position(files []config.File) func(string) int {
	at := map[string]int{}
	for i, f := range files {
		at[f.Name] = i
	}
	return func(name string) int {
		if i, ok := at[name]; ok {
			return i
		}
		return len(files)
	}
}

// inOrder returns the objects as they stand in the files.
func inOrder(files []config.File, set *config.Set) []*config.Object {
	order := position(files)
	objects := set.All()
	sort.SliceStable(objects, func(i, j int) bool {
		a, b := objects[i].Source, objects[j].Source
		if a.File != b.File {
			return order(a.File) < order(b.File)
		}
		return a.Line < b.Line
	})
	return objects
}
