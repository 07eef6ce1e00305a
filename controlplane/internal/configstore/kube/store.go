package kube

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
	"github.com/lateen-mesh/lateen/controlplane/internal/kube"
)

// Options say what is read. Client is required.
type Options struct {
	Client *kube.Client
	// Mesh has the mesh configuration read from the cluster's ConfigMap; without it that is somebody else's.
	Mesh bool
	// Logger gets a line for each mistake that appears. Default: none.
	Logger *slog.Logger
}

// Store follows one API server. Make one with New; Run does the work.
type Store struct {
	opts   Options
	log    *slog.Logger
	custom map[string]*schema.Kind // by the name of the definition

	// Of Run's goroutine alone.
	follows map[string]*follow // by resource name
	meshNow string             // version of the mesh configuration in force, "" for none

	mu       sync.Mutex // guards what other goroutines read; Run's alone changes it
	objects  map[config.Key]*config.Object
	mistakes []configstore.Mistake
	number   uint64
	mesh     string // as meshNow
}

// follow is a kind that is followed.
type follow struct {
	objects *objects // nil: the definitions
	version string
	stop    context.CancelFunc
	heard   bool
}

// New returns a store that has read nothing yet.
func New(opts Options) *Store {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Store{opts: opts, log: opts.Logger, custom: customKinds(), follows: map[string]*follow{}, objects: map[config.Key]*config.Object{}}
}

// told is an update with the follow that it came of: one that was given up is not heard any more.
type told struct {
	from   *follow
	update kube.Update
}

// Run reads all objects, delivers them in a first batch (which may be empty), and then each change, until ctx ends. sink is called on Run's goroutine.
// A kind whose definition comes later, or goes, is followed from then on, or its objects are deleted.
func (s *Store) Run(ctx context.Context, sink func(configstore.Batch)) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	updates := make(chan told)
	begin := func(r kube.Resource, f *follow) {
		var of context.Context
		of, f.stop = context.WithCancel(ctx)
		s.follows[r.Name] = f
		all.Go(func() {
			kube.Follow(of, r, s.opts.Client.Health, s.log, func(u kube.Update) {
				select {
				case updates <- told{f, u}:
				case <-of.Done():
				}
			})
		})
	}
	begin(s.opts.Client.Objects(definitions, "", ""), &follow{})
	for _, k := range coreKinds() {
		namespace, selector := selection(k)
		begin(s.opts.Client.Objects(resource(k, k.Versions[0]), namespace, selector), &follow{objects: newObjects(k), version: k.Versions[0]})
	}
	var pending configstore.Batch
	started := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-updates:
			if s.follows[t.update.Resource] != t.from {
				continue
			}
			t.from.heard = t.from.heard || t.update.All
			if t.from.objects == nil {
				s.define(t.update, begin, &pending)
			} else {
				s.take(t.from.objects, t.update, &pending)
			}
			if !started && !s.complete() {
				continue
			}
			s.publish(&pending)
			if !started || !pending.Empty() {
				sink(pending)
			}
			started, pending = true, configstore.Batch{}
		}
	}
}

// complete says whether every resource has been read once.
func (s *Store) complete() bool {
	for _, f := range s.follows {
		if !f.heard {
			return false
		}
	}
	return true
}

// define begins to follow the kinds that definitions bring, and gives up those that go.
func (s *Store) define(u kube.Update, begin func(kube.Resource, *follow), b *configstore.Batch) {
	seen := map[string]bool{}
	for _, o := range u.Objects {
		d, ok := o.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		k := s.custom[d.GetName()]
		if k == nil {
			continue
		}
		version, served := servedVersion(d, k)
		if !served {
			if established(d) {
				s.log.Warn("kubernetes: a kind is served in no version that is known, so that its objects have no effect", "kind", d.GetName(), "versions", servedVersions(d))
			}
			s.leave(d.GetName(), b)
			continue
		}
		seen[d.GetName()] = true
		f := s.follows[d.GetName()]
		if f != nil && f.version == version {
			continue
		}
		next := &follow{objects: newObjects(k), version: version}
		if f != nil { // another version of the same objects
			f.stop()
			next.objects = f.objects
		}
		begin(s.opts.Client.Objects(resource(k, version), "", ""), next)
	}
	for _, n := range u.Gone {
		s.leave(n.Name, b)
	}
	if u.All {
		for name := range s.follows {
			if s.custom[name] != nil && !seen[name] {
				s.leave(name, b)
			}
		}
	}
}

// leave gives a kind up, and its objects with it.
func (s *Store) leave(name string, b *configstore.Batch) {
	f := s.follows[name]
	if f == nil || s.custom[name] == nil {
		return
	}
	f.stop()
	delete(s.follows, name)
	f.objects.keep(nil, b)
}

// take applies what became of one kind's objects.
func (s *Store) take(of *objects, u kube.Update, b *configstore.Batch) {
	there := map[config.Key]bool{}
	for _, o := range u.Objects {
		if o, ok := o.(*unstructured.Unstructured); ok {
			there[of.set(o, b)] = true
		}
	}
	for _, n := range u.Gone {
		of.remove(keyOf(of.kind, n), b)
	}
	if u.All {
		of.keep(there, b)
	}
}

func keyOf(k *schema.Kind, n cache.ObjectName) config.Key {
	return config.Key{Kind: k, Namespace: n.Namespace, Name: n.Name}
}

// publish brings a batch into its final form, makes the new state visible to other goroutines and logs mistakes that appear and those that are gone.
func (s *Store) publish(b *configstore.Batch) {
	s.settle(b)
	s.setMesh(b)
	var mistakes []configstore.Mistake
	for _, name := range slices.Sorted(maps.Keys(s.follows)) {
		if of := s.follows[name].objects; of != nil {
			mistakes = append(mistakes, of.mistakes()...)
		}
	}
	s.mu.Lock()
	old := s.mistakes
	for _, o := range b.Changed {
		s.objects[o.Key()] = o
	}
	for _, key := range b.Deleted {
		delete(s.objects, key)
	}
	if !b.Empty() {
		s.number++
	}
	b.Number, s.mistakes, s.mesh = s.number, mistakes, s.meshNow
	s.mu.Unlock()
	report(s.log, old, mistakes)
}

// settle leaves of each object what became of it last: a batch that took long to gather may name it several times.
func (s *Store) settle(b *configstore.Batch) {
	of := map[*schema.Kind]*objects{}
	for _, f := range s.follows {
		if f.objects != nil {
			of[f.objects.kind] = f.objects
		}
	}
	named := map[config.Key]bool{}
	for _, o := range b.Changed {
		named[o.Key()] = true
	}
	for _, key := range b.Deleted {
		named[key] = true
	}
	b.Changed, b.Deleted = nil, nil
	for key := range named {
		var o *config.Object
		if all := of[key.Kind]; all != nil {
			o = all.inForce(key)
		}
		if o != nil {
			b.Changed = append(b.Changed, o)
		} else if s.objects[key] != nil {
			b.Deleted = append(b.Deleted, key)
		}
	}
	slices.SortFunc(b.Changed, func(a, c *config.Object) int { return configstore.CompareKeys(a.Key(), c.Key()) })
	slices.SortFunc(b.Deleted, configstore.CompareKeys)
}

// setMesh adds the mesh configuration to the batch when it changed, or when it is the first and there is none.
func (s *Store) setMesh(b *configstore.Batch) {
	if !s.opts.Mesh {
		return
	}
	for _, o := range b.Changed {
		if !config.IsMeshConfig(o.Key()) {
			continue
		}
		if f, ok := meshFile(o); ok {
			if v := fileVersion(f); v != s.meshNow {
				b.Mesh, s.meshNow = &f, v
			}
			return
		}
		s.noMesh(b)
		return
	}
	for _, key := range b.Deleted {
		if config.IsMeshConfig(key) {
			s.noMesh(b)
		}
	}
}

func (s *Store) noMesh(b *configstore.Batch) {
	if s.meshNow != "" {
		b.Mesh, s.meshNow = &config.File{Name: "ConfigMap istio-system/istio"}, ""
	}
}

// report says which mistakes are new, and which are gone.
func report(log *slog.Logger, old, now []configstore.Mistake) {
	was, is := map[string]bool{}, map[string]bool{}
	for _, m := range old {
		was[said(m)] = true
	}
	for _, m := range now {
		is[said(m)] = true
		if !was[said(m)] {
			effect := "it has no effect until it is right"
			if m.Kept {
				effect = "its last good form stays"
			}
			log.Warn(fmt.Sprintf("%s is not valid; %s", m.Key, effect), "field", m.Field, "err", m.Text)
		}
	}
	for _, m := range old {
		if !is[said(m)] {
			log.Info(fmt.Sprintf("%s: a mistake is gone", m.Key), "field", m.Field)
		}
	}
}

// Objects returns what is in force, by key.
func (s *Store) Objects() []*config.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.objects), func(a, b *config.Object) int { return configstore.CompareKeys(a.Key(), b.Key()) })
}

// State returns what is in force.
func (s *Store) State() configstore.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return configstore.State{Number: s.number, Objects: maps.Clone(s.objects), MeshVersion: s.mesh}
}

// Mistakes returns what is wrong in the objects now.
func (s *Store) Mistakes() []configstore.Mistake {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mistakes)
}
