package server

import (
	"context"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/filewatch"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Runtime is what the admin API shows and changes.
func (s *Server) Runtime() *runtimekey.Runtime { return s.runtime }

func runtimeSources(layers []xdsresource.RuntimeLayer) []runtimekey.Source {
	var out []runtimekey.Source
	for _, l := range layers {
		out = append(out, l.Source)
	}
	return out
}

// watchRuntime reloads disk layers when their symbolic link is replaced, until ctx ends.
func (s *Server) watchRuntime(ctx context.Context) {
	for _, l := range s.boot.Runtime {
		if l.Kind != runtimekey.Disk {
			continue
		}
		w, err := filewatch.File(filepath.Clean(l.Root))
		if err != nil {
			s.logger("runtime").Error("a disk layer will not be reloaded", "layer", l.Name, "error", err)
			continue
		}
		s.wg.Go(func() {
			if err := w.Run(ctx, s.runtime.Reload); err != nil {
				s.logger("runtime").Error("a disk layer is not reloaded any more", "layer", l.Name, "error", err)
			}
		})
		s.runtime.Reload() // what was moved before the watch began
	}
}

// rtds subscribes to the layers that come from a control plane. The control loop owns it.
type rtds struct {
	s       *Server
	waiting map[resource]bool // were never answered
	longest time.Duration     // of the time-outs of those
	then    func()
}

func (r *rtds) begin() {
	for _, l := range r.s.boot.Runtime {
		if l.Kind == runtimekey.RTDS {
			res := resource{l.RTDS, l.Resource}
			r.waiting[res] = true
			r.longest = max(r.longest, l.FetchTimeout)
			r.s.fetches.begin(fetchKey{xdsresource.TypeRuntime, res}, l.FetchTimeout, func(late bool) {
				if late {
					r.s.logger("runtime").Warn("a layer has not come in time", "resource", l.Resource, "after", l.FetchTimeout)
				}
				r.answered(res)
			})
			r.s.sources.subscribe(l.RTDS, xdsresource.TypeRuntime, l.Resource)
		}
	}
}

// whenAnswered calls f once every layer has been answered: what starts then begins with their values.
func (r *rtds) whenAnswered(f func()) {
	r.then = f
	r.check()
}

func (r *rtds) check() {
	if f := r.then; f != nil && len(r.waiting) == 0 {
		r.then = nil
		f()
	}
}

// patience is how long the start waits for layers at most.
func (r *rtds) patience() time.Duration { return max(r.longest, startPatience) }

// answered takes a layer that has come, or that is not waited for any longer.
func (r *rtds) answered(res resource) {
	r.s.fetches.end(fetchKey{xdsresource.TypeRuntime, res})
	delete(r.waiting, res)
	r.check()
}

func (r *rtds) apply(src xdsresource.ConfigSource, b xdsclient.Batch) {
	for _, u := range b.Changed {
		r.s.runtime.SetRemote(u.Name, u.Value.(map[string]*runtimekey.Value))
		r.answered(resource{src, u.Name})
	}
	for _, f := range b.Failed {
		r.s.logger("runtime").Warn("a layer was refused", "resource", f.Name, "error", f.Err)
		r.answered(resource{src, f.Name})
	}
	for _, name := range b.Removed {
		r.answered(resource{src, name})
	}
}
