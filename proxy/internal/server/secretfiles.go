package server

import (
	"context"
	"path/filepath"
	"reflect"
	"slices"
	"sync"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/filewatch"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// secretFiles reads secrets anew when something is moved to where their files are, as Envoy does for those that come from SDS: a
// certificate may be rotated by whoever writes the files, and the source of the secret need not know.
type secretFiles struct {
	s *Server

	mu      sync.Mutex
	cancels map[secretKey]context.CancelFunc // of those that are watched
}

// follow watches the files of a secret's new value instead of those of the old one.
func (f *secretFiles) follow(k secretKey, v *xdsresource.Secret, version string, raw *anypb.Any) {
	dirs := slices.Clone(v.Directories)
	if len(dirs) == 0 {
		for _, file := range v.Files {
			dirs = append(dirs, filepath.Dir(file))
		}
	}
	slices.Sort(dirs)
	dirs = slices.Compact(dirs)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stop(k)
	if len(dirs) == 0 {
		return
	}
	ctx, cancel := f.s.child()
	f.cancels[k] = cancel
	reload := f.reloader(k, v, version, raw)
	for _, dir := range dirs {
		w, err := filewatch.Directory(dir)
		if err != nil {
			f.s.secrets.log.Error("the files of a secret cannot be watched", "name", k.name, "error", err)
			continue
		}
		f.s.spawn(func() {
			if err := w.Run(ctx, reload); err != nil {
				f.s.secrets.log.Error("the files of a secret are not watched any more", "name", k.name, "error", err)
			}
		})
	}
	reload() // what was moved between the first read and now
}

// reloader returns what reads the secret's files and keeps what has changed. Files that cannot be used leave the last good value.
func (f *secretFiles) reloader(k secretKey, v *xdsresource.Secret, version string, raw *anypb.Any) func() {
	var mu sync.Mutex
	return func() {
		mu.Lock()
		defer mu.Unlock()
		r, err := f.s.cfg.Decoder.Decode(raw)
		if err != nil {
			f.s.secrets.log.Warn("the files of a secret have changed and cannot be used", "name", k.name, "error", err)
			return
		}
		if fresh := r.Value.(*xdsresource.Secret); !reflect.DeepEqual(fresh, v) {
			v = fresh
			f.s.secrets.set(k, fresh, version, raw)
		}
	}
}

// forget ends the watch of a secret that nobody wants any more.
func (f *secretFiles) forget(k secretKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stop(k)
}

func (f *secretFiles) stop(k secretKey) {
	if cancel := f.cancels[k]; cancel != nil {
		cancel()
		delete(f.cancels, k)
	}
}
