package watch

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

const (
	// answerTime is how long an answer may take beyond the wait that was asked for. Servers add up to a sixteenth of the wait on their own.
	answerTime = 15 * time.Second
	// firstTime is how long the first delta waits for services that do not answer, once the list has been read.
	firstTime = 10 * time.Second
	// quickQueries is how many queries that are answered at once may be under way.
	quickQueries = 32
	// rotation is how long it takes at most to ask for every service once when there are more of them than Slots.
	rotation = 5 * time.Second
	// idlePause is the time between two answers without news, over all services.
	idlePause = 100 * time.Millisecond
	// keepTime is how long services stay that servers which began anew do not know, or a token that may see less than before.
	keepTime = time.Minute
)

// Options are a watcher's. Registry, Name and Catalog are required.
type Options struct {
	Registry string // what it is: "Consul"
	Name     string // the source's name, with its address: "consul http://127.0.0.1:8500"
	Catalog  Catalog
	// Wait is how long a blocking query waits for news. Default 2 minutes.
	Wait time.Duration
	// Slots is how many queries for services wait at once. With more services than slots these take turns, and a change is seen within some
	// 5 seconds instead of at once. 0 for no limit.
	Slots int
	// Logger gets a line when the registry goes, comes back, or has something that cannot be used. Default: none.
	Logger *slog.Logger
	// Metrics may be nil.
	Metrics *Metrics
}

// Watcher follows one catalogue. Make one with New; Run does the work.
type Watcher struct {
	opts  Options
	log   *slog.Logger
	board *board
	// slots holds a token for each query for a service that waits for news; nil for no limit. quick holds one for each that is to be answered
	// at once, so that a start with many services does not ask for all of them in one moment.
	slots, quick chan struct{}
	followed     atomic.Int64
}

// New returns a watcher that has asked nothing yet.
func New(opts Options) *Watcher {
	if opts.Wait <= 0 {
		opts.Wait = 2 * time.Minute
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{opts: opts, log: opts.Logger.With("registry", opts.Name), board: newBoard(opts.Registry, opts.Name, opts.Metrics, time.Now),
		quick: make(chan struct{}, quickQueries)}
	if opts.Slots > 0 {
		w.slots = make(chan struct{}, opts.Slots)
	}
	return w
}

// Name is the registry's name as a source.
func (w *Watcher) Name() string { return w.opts.Name }

// Status returns how the registry is doing; any goroutine may ask.
func (w *Watcher) Status() Status { return w.board.status() }

// heard is an answer on its way to the book.
type heard struct {
	name         string
	registration *model.Registration
	back         bool // the index went backwards
}

// Run follows the catalogue and delivers what changed until ctx ends, on its own goroutine. The first delta is everything, which is nothing
// for an empty catalogue; it does not come before the catalogue has been read. Run returns nil: nothing that a registry does ends it.
func (w *Watcher) Run(ctx context.Context, sink func(Delta)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	lists := make(chan listed)
	wg.Go(func() { w.followList(ctx, lists) })

	services := make(chan heard)
	followers := map[string]context.CancelFunc{}
	start := func(names []string) {
		if n := int(w.followed.Add(int64(len(names)))); w.crowded(n) && !w.crowded(n-len(names)) {
			w.log.Warn("there are more services than queries may wait at once; they take turns, and a change is seen within seconds instead of at once",
				"services", n, "queries", w.opts.Slots)
		}
		for _, name := range names {
			own, stop := context.WithCancel(ctx)
			followers[name] = stop
			wg.Go(func() { w.follow(own, name, services) })
		}
	}
	stop := func(names []string) {
		for _, name := range names {
			followers[name]()
			delete(followers, name)
			w.board.forget(name)
		}
		w.followed.Add(-int64(len(names)))
	}

	b := newBook()
	first, begun := true, false
	late, kept := stopped(), stopped()
	defer late.Stop()
	defer kept.Stop()
	hold := func() {
		if !b.holding {
			w.log.Warn("the registry began anew, or may be read in part only; services that it no longer tells of are kept for a while", "for", keepTime)
		}
		b.hold()
		kept.Reset(keepTime)
	}
	hear := func(h heard) {
		if h.back {
			hold()
		}
		b.hear(h.name, h.registration)
	}
	for {
		patient := true
		select {
		case <-ctx.Done():
			return nil
		case l := <-lists:
			if l.doubtful && begun {
				hold()
			}
			follow, leave := b.list(l.names)
			stop(leave)
			start(follow)
			if !begun {
				begun = true
				late.Reset(firstTime)
			}
		case h := <-services:
			hear(h)
		case <-late.C:
			patient = false
		case <-kept.C:
			stop(b.release())
		}
		drain(services, hear)
		if first && patient && (!begun || !b.complete()) {
			continue
		}
		if d := b.take(); first || len(d.Changed)+len(d.Removed) > 0 {
			first = false
			n, endpoints := b.counts()
			w.board.delivered(d, n, endpoints)
			sink(d)
		}
	}
}

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// drain takes what is waiting, so that a burst is one delta.
func drain(services <-chan heard, hear func(heard)) {
	for {
		select {
		case h := <-services:
			hear(h)
		default:
			return
		}
	}
}

// listed is a list on its way to the book.
type listed struct {
	names []string
	// doubtful says that what is missing may be there all the same: the index went backwards, or the list has a new warning.
	doubtful bool
}

// followList asks for the list of names, again and again.
func (w *Watcher) followList(ctx context.Context, lists chan<- listed) {
	var c cursor
	for {
		l, err := ask(ctx, c.query(w.opts.Wait), w.opts.Catalog.List)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			if w.board.unlisted(err) {
				w.log.Error("the registry does not answer; what it last said stays", "err", err)
			}
			if !sleep(ctx, c.fail(rand.Float64())) {
				return
			}
			continue
		}
		back, warn := w.board.listed(l)
		if back {
			w.log.Info("following the registry", "services", len(l.Names))
		}
		if warn {
			w.log.Warn(l.Warning)
		}
		pause, anew := c.answer(l.Index, time.Now())
		select {
		case lists <- listed{l.Names, anew || warn}:
		case <-ctx.Done():
			return
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// follow asks for one service, again and again, and passes on what differs from the last answer.
func (w *Watcher) follow(ctx context.Context, name string, services chan<- heard) {
	var c cursor
	var last *model.Registration
	first := true
	for {
		q := c.query(w.turn())
		leave := w.enter(ctx, q)
		if leave == nil {
			return
		}
		s, err := ask(ctx, q, func(ctx context.Context, q Query) (Service, error) {
			return w.opts.Catalog.Service(ctx, name, q)
		})
		leave()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// When the registry is away, every service fails; the list says so once.
			if w.board.unread(name, err) && c.failures == 1 {
				w.log.Warn("a service cannot be read; what was last read stays", "service", name, "err", err)
			}
			if !sleep(ctx, c.fail(rand.Float64())) {
				return
			}
			continue
		}
		for _, p := range w.board.read(name, s.Problems) {
			w.log.Warn("part of a service has no effect", "service", name, "problem", p)
		}
		pause, back := c.answer(s.Index, time.Now())
		if first || !reflect.DeepEqual(last, s.Registration) {
			first, last = false, s.Registration
			select {
			case services <- heard{name, last, back}:
			case <-ctx.Done():
				return
			}
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// enter waits for room for a query and returns what gives it back; nil when ctx has ended.
func (w *Watcher) enter(ctx context.Context, q Query) (leave func()) {
	room := w.slots
	if q.Index == 0 {
		room = w.quick
	}
	if room == nil {
		return func() {}
	}
	select {
	case room <- struct{}{}:
		return func() { <-room }
	case <-ctx.Done():
		return nil
	}
}

// turn is how long a query for a service may wait. When many more services come, those that wait leave their slots only when this is over; so
// it is no longer than it takes for ten answers a second, without news, over all services. With more services than slots it is the share of
// the rotation.
func (w *Watcher) turn() time.Duration {
	n := int(w.followed.Load())
	switch {
	case w.slots == nil:
		return w.opts.Wait
	case w.crowded(n):
		return min(w.opts.Wait, rotation*time.Duration(w.opts.Slots)/time.Duration(n))
	}
	return min(w.opts.Wait, max(rotation, time.Duration(n)*idlePause))
}

func (w *Watcher) crowded(n int) bool { return w.slots != nil && n > w.opts.Slots }

// ask bounds a query that is not answered at all.
func ask[T any](ctx context.Context, q Query, f func(context.Context, Query) (T, error)) (T, error) {
	bound := answerTime
	if q.Index > 0 {
		bound += q.Wait + q.Wait/16
	}
	ctx, cancel := context.WithTimeoutCause(ctx, bound, errors.New("no answer within "+bound.String()))
	defer cancel()
	v, err := f(ctx, q)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return v, err
}

// sleep reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
