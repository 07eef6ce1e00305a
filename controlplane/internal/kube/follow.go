package kube

import (
	"context"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Update is what became of the objects of one resource.
type Update struct {
	// Resource is its name.
	Resource string
	// All says that Objects are all that there are: what was known beside them is gone.
	All bool
	// Objects are new or changed. They are the receiver's.
	Objects []runtime.Object
	// Gone are deleted.
	Gone []cache.ObjectName
}

// Follow lists a resource, tells sink of all its objects, and then of each change, until ctx ends. What breaks is begun again by client-go, with
// growing pauses; after a break that is too long to be made up the next update is of all objects. sink is called on one goroutine.
//
// Failures go to the health, and to the log when they are news.
func Follow(ctx context.Context, r Resource, health *Health, log *slog.Logger, sink func(Update)) {
	quiet := logr.FromSlogHandler(slog.DiscardHandler) // what client-go says of failures is said by watched
	health.begin(r.Name)
	defer health.end(r.Name)
	w := &watched{source: cache.ToListerWatcherWithContext(r.Source), name: r.Name, health: health, log: log}
	reflector := cache.NewReflectorWithOptions(w.listWatch(), r.Example, &receiver{name: r.Name, sink: sink, health: health}, cache.ReflectorOptions{Logger: &quiet, Name: r.Name})
	reflector.RunWithContext(klog.NewContext(ctx, quiet))
}

// listWatch is the resource of a dynamic client.
func listWatch(from dynamic.ResourceInterface, selector string) cache.ListerWatcher {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.FieldSelector = selector
			return from.List(ctx, opts)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.FieldSelector = selector
			return from.Watch(ctx, opts)
		},
	}
}

// watched is a source whose answers are noted.
type watched struct {
	source cache.ListerWatcherWithContext
	name   string
	health *Health
	log    *slog.Logger
}

func (w *watched) listWatch() cache.ListerWatcher {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			list, err := w.source.ListWithContext(ctx, opts)
			w.note(ctx, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			events, err := w.source.WatchWithContext(ctx, opts)
			w.note(ctx, err)
			return events, err
		},
		// A list of pods in pages of 500 is read from etcd; whole it comes from the server's cache.
		DisableChunking: true,
	}
}

func (w *watched) note(ctx context.Context, err error) {
	switch {
	case err != nil && ctx.Err() != nil: // it was told to end
	case err != nil:
		if w.health.failed(w.name, err) {
			w.log.Warn("kubernetes cannot be read; what was read stays, and it is tried again", "resource", w.name, "err", plain(err))
		}
	case w.health.answered(w.name):
		w.log.Info("kubernetes can be read again")
	}
}

// receiver implements cache.ReflectorStore: what a reflector reads goes on at once.
type receiver struct {
	name   string
	sink   func(Update)
	health *Health
}

func (r *receiver) Add(o any) error { return r.Update(o) }
func (r *receiver) Resync() error   { return nil }
func (r *receiver) Update(o any) error {
	r.tell(Update{Objects: []runtime.Object{o.(runtime.Object)}})
	return nil
}

func (r *receiver) Delete(o any) error {
	m, err := meta.Accessor(o)
	if err != nil {
		return err
	}
	r.tell(Update{Gone: []cache.ObjectName{{Namespace: m.GetNamespace(), Name: m.GetName()}}})
	return nil
}

func (r *receiver) Replace(all []any, _ string) error {
	u := Update{All: true, Objects: make([]runtime.Object, len(all))}
	for i, o := range all {
		u.Objects[i] = o.(runtime.Object)
	}
	r.tell(u)
	return nil
}

func (r *receiver) tell(u Update) {
	u.Resource = r.name
	r.health.contact(time.Now())
	r.sink(u)
}
