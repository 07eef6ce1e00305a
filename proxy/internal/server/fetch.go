package server

import (
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// fetches are the first answers that something waits for. When the source's initial_fetch_timeout is
// over, or as soon as it is known that nothing good comes, those who wait go on without. The control
// loop owns it.
type fetches struct {
	post func(func()) bool
	open map[fetchKey]*fetch
}

// fetchKey names what is waited for. The name is empty for everything of a type.
type fetchKey struct {
	url string
	resource
}

type fetch struct {
	timer *time.Timer     // nil: without end
	goOn  func(late bool) // without it; late: because of the time
	over  bool
}

func newFetches(c *control) *fetches { return &fetches{post: c.post, open: map[fetchKey]*fetch{}} }

// begin begins to wait; timeout 0 is without end. It does nothing where somebody waits already, or
// has waited in vain: the next one need not do so again.
func (f *fetches) begin(k fetchKey, timeout time.Duration, goOn func(late bool)) {
	if f.open[k] != nil {
		return
	}
	x := &fetch{goOn: goOn}
	f.open[k] = x
	if timeout <= 0 {
		return
	}
	x.timer = time.AfterFunc(timeout, func() {
		f.post(func() {
			if f.open[k] == x && !x.over {
				x.over = true
				x.goOn(true)
			}
		})
	})
}

// waits reports whether an answer may still come in time.
func (f *fetches) waits(k fetchKey) bool {
	x := f.open[k]
	return x != nil && !x.over
}

// end forgets what has come, or what nobody wants any more.
func (f *fetches) end(k fetchKey) {
	if x := f.open[k]; x != nil {
		x.stop()
		delete(f.open, k)
	}
}

// without has those who wait go on, since what came is of no use.
func (f *fetches) without(k fetchKey) {
	if x := f.open[k]; x != nil && !x.over {
		x.stop()
		x.over = true
		x.goOn(false)
	}
}

// failed does so for all that a source was asked for of a type.
func (f *fetches) failed(url string, src xdsresource.ConfigSource) {
	var keys []fetchKey // those who go on may begin to wait for something else
	for k := range f.open {
		if k.url == url && k.source == src {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		f.without(k)
	}
}

// close ends all timers.
func (f *fetches) close() {
	for _, x := range f.open {
		x.stop()
	}
}

func (x *fetch) stop() {
	if x.timer != nil {
		x.timer.Stop()
	}
}
