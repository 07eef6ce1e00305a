package file

import (
	"context"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A burst of events (an editor's save, a folder copied in) is one change: it is over after quiet, at the latest after longest.
const (
	quiet   = 10 * time.Millisecond
	longest = 100 * time.Millisecond
)

// event is a path that may have changed. written says that its content is being written in place; without it the path has a new file, which
// was complete when it got this name (or is empty still).
type event struct {
	path    string
	written bool
}

// watcher reports paths that may have changed. Without the system's help (no descriptors left, for instance) it reports nothing and the
// rescan finds what changed.
type watcher struct {
	dir, mesh string
	log       *slog.Logger
	fs        *fsnotify.Watcher
	watched   map[string]bool
	paths     chan event
	done      chan struct{}
	ended     chan struct{}
}

func newWatcher(dir, mesh string, log *slog.Logger) *watcher {
	w := &watcher{dir: filepath.Clean(dir), log: log, watched: map[string]bool{}, paths: make(chan event), done: make(chan struct{}), ended: make(chan struct{})}
	if mesh != "" {
		w.mesh = filepath.Clean(mesh)
	}
	var err error
	if w.fs, err = fsnotify.NewWatcher(); err != nil {
		log.Warn("the file system reports no changes; looking every second", "err", err)
		close(w.ended)
		return w
	}
	go w.run()
	return w
}

func (w *watcher) deaf() bool { return w.fs == nil }

func (w *watcher) close() {
	close(w.done)
	if w.fs != nil {
		w.fs.Close()
	}
	<-w.ended
}

// watches says whether a path is that of a folder that was there at the last look.
func (w *watcher) watches(path string) bool { return w.watched[path] }

func (w *watcher) events() <-chan event { return w.paths }

// run passes on the paths of events that matter.
func (w *watcher) run() {
	defer close(w.ended)
	for {
		var what event
		select {
		case e, ok := <-w.fs.Events:
			if !ok {
				return
			}
			if e.Op == fsnotify.Chmod || !w.matters(e.Name) {
				continue
			}
			what = event{e.Name, e.Has(fsnotify.Write)}
		case err, ok := <-w.fs.Errors:
			if !ok {
				return
			}
			w.log.Warn("events of the file system were lost; reading everything", "err", err)
			what = event{w.dir, true}
		case <-w.done:
			return
		}
		select {
		case w.paths <- what:
		case <-w.done:
			return
		}
	}
}

// matters leaves out what lies beside the mesh file, which is watched by its folder, and the temporary names of atomic writes.
func (w *watcher) matters(path string) bool {
	if path == w.mesh {
		return true
	}
	if path != w.dir && !strings.HasPrefix(path, w.dir+string(filepath.Separator)) {
		return false
	}
	return !strings.HasPrefix(filepath.Base(path), ".")
}

// settle gathers events until they pause; true in suspects are those that are written in place.
func (w *watcher) settle(ctx context.Context, suspects map[string]bool) {
	end := time.NewTimer(longest)
	defer end.Stop()
	pause := time.NewTimer(quiet)
	defer pause.Stop()
	for {
		select {
		case e := <-w.paths:
			suspects[e.path] = e.written
			pause.Reset(quiet)
		case <-pause.C:
			return
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// follow sees to it that every folder of the tree is watched. Folders that are gone are dropped by the system.
func (w *watcher) follow() {
	if w.fs == nil {
		return
	}
	now := map[string]bool{}
	add := func(dir string) {
		now[dir] = true
		// A folder made anew under an old name is another one; adding what is watched already costs little.
		if err := w.fs.Add(dir); err != nil && !w.watched[dir] {
			w.log.Warn("folder is not watched; changes in it are found by the rescan", "dir", dir, "err", err)
		}
	}
	if w.mesh != "" {
		add(filepath.Dir(w.mesh))
	}
	_ = filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		if path != w.dir && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		add(path)
		return nil
	})
	w.watched = now
}
