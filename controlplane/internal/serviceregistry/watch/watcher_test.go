package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// catalogue is a Catalog in memory. It is used in synctest bubbles, where time passes when all wait.
type catalogue struct {
	mu       sync.Mutex
	index    uint64
	listAt   uint64
	services map[string]version
	news     chan struct{}
	down     error
	hang     bool
	warning  string
	lists    int
	reads    map[string]int
	most     int // queries for services that waited at one time
	waiting  int
}

type version struct {
	at uint64
	r  *model.Registration
}

func newCatalogue(names ...string) *catalogue {
	c := &catalogue{index: 10, listAt: 10, services: map[string]version{}, news: make(chan struct{}), reads: map[string]int{}}
	for _, n := range names {
		c.services[n] = version{10, registration(n, 1)}
	}
	return c
}

// registration has n endpoints.
func registration(name string, n int) *model.Registration {
	r := &model.Registration{Service: &model.Service{Host: name + ".test", Namespace: "default", Name: name}}
	for i := range n {
		r.Instances = append(r.Instances, model.Instance{Address: fmt.Sprintf("10.0.0.%d", i+1), Port: 80, ServicePort: 80})
	}
	return r
}

func (c *catalogue) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.news)
	c.news = make(chan struct{})
}

func (c *catalogue) put(name string, n int) {
	c.change(func() {
		c.index++
		if _, ok := c.services[name]; !ok {
			c.listAt = c.index
		}
		c.services[name] = version{c.index, registration(name, n)}
	})
}

func (c *catalogue) remove(name string) {
	c.change(func() { c.index++; c.listAt = c.index; delete(c.services, name) })
}

// anew loses everything and begins with a low index.
func (c *catalogue) anew() {
	c.change(func() { c.index, c.listAt, c.services = 2, 2, map[string]version{} })
}

// block waits until index is beyond the query's. Like a real server it lets a query with an index from the future wait to its end.
func (c *catalogue) block(ctx context.Context, q Query, at func() uint64) error {
	over := time.NewTimer(q.Wait)
	defer over.Stop()
	for {
		c.mu.Lock()
		down, hang, now, news := c.down, c.hang, at(), c.news
		c.mu.Unlock()
		if down != nil {
			return down
		}
		if !hang && (q.Index == 0 || now > q.Index) {
			return nil
		}
		select {
		case <-news:
		case <-over.C:
			if !hang {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *catalogue) List(ctx context.Context, q Query) (List, error) {
	if err := c.block(ctx, q, func() uint64 { return c.listAt }); err != nil {
		return List{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists++
	return List{Index: c.listAt, Names: slices.Sorted(maps.Keys(c.services)), Warning: c.warning}, nil
}

func (c *catalogue) Service(ctx context.Context, name string, q Query) (Service, error) {
	c.mu.Lock()
	if q.Index > 0 {
		c.waiting++
		c.most = max(c.most, c.waiting)
	}
	c.mu.Unlock()
	err := c.block(ctx, q, func() uint64 { return max(c.services[name].at, 1) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if q.Index > 0 {
		c.waiting--
	}
	if err != nil {
		return Service{}, err
	}
	c.reads[name]++
	v := c.services[name]
	return Service{Index: max(v.at, 1), Registration: v.r}, nil
}

// watched runs a watcher in a bubble and gathers its deltas.
type watched struct {
	t      *testing.T
	w      *Watcher
	stop   func()
	mu     sync.Mutex
	deltas []string
}

func watchOf(t *testing.T, c *catalogue, slots int) *watched {
	t.Helper()
	w := &watched{t: t, w: New(Options{Registry: "Test", Name: "test", Catalog: c, Slots: slots})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- w.w.Run(ctx, func(d Delta) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.deltas = append(w.deltas, text(d))
		})
	}()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return w
}

// text gives "a=1 b=2 -c" for two services with their endpoints and one that is gone.
func text(d Delta) string {
	var out []string
	for _, r := range d.Changed {
		out = append(out, fmt.Sprintf("%s=%d", r.Service.Name, len(r.Instances)))
	}
	for _, key := range d.Removed {
		name, _, _ := strings.Cut(key, ".")
		out = append(out, "-"+name)
	}
	return strings.Join(out, " ")
}

// after lets time pass and compares the deltas since the last call.
func (w *watched) after(d time.Duration, want ...string) {
	w.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.deltas, want) {
		w.t.Errorf("after %v: deltas %q, want %q", d, w.deltas, want)
	}
	w.deltas = nil
}

func TestChangesAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatalogue("a", "b", "c")
		w := watchOf(t, c, 0)
		defer w.stop()
		w.after(0, "a=1 b=1 c=1")
		w.after(time.Hour) // answers without news
		c.change(func() { clear(c.reads) })
		c.put("b", 3)
		w.after(time.Millisecond, "b=3")
		if c.reads["b"] != 1 || c.reads["a"]+c.reads["c"] != 0 {
			t.Errorf("a change of b was read as %v", c.reads)
		}
		c.put("d", 2)
		w.after(time.Millisecond, "d=2")
		c.remove("a")
		w.after(time.Second, "-a")
		// The index moves and nothing else does: a check's output, for instance.
		c.put("b", 3)
		w.after(time.Second)
		if s := w.w.Status(); !s.Connected || s.Services != 3 || s.Endpoints != 6 || s.LastError != "" {
			t.Errorf("status %+v", s)
		}
	})
}

// TestFlapping: of a service that changes all the time every state within a moment is one.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatalogue("a")
		w := watchOf(t, c, 0)
		defer w.stop()
		w.after(0, "a=1")
		c.change(func() { clear(c.reads) })
		for i := range 1000 {
			c.put("a", 2+i%2)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := c.reads["a"]; n < 9 || n > 13 {
			t.Errorf("a second of changes was read %d times, want about 10", n)
		}
	})
}

func TestAwayAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatalogue("a", "b")
		w := watchOf(t, c, 0)
		defer w.stop()
		w.after(0, "a=1 b=1")
		c.change(func() { c.down = errors.New("connection refused") })
		w.after(time.Hour) // last good kept
		s := w.w.Status()
		if s.Connected || s.LastError != "connection refused" || len(s.Failing) != 2 || s.Services != 2 {
			t.Errorf("status while away: %+v", s)
		}
		c.change(func() { c.down = nil })
		c.put("a", 5)
		w.after(backoffMost, "a=5")
		if s := w.w.Status(); !s.Connected || len(s.Failing) != 0 || s.LastError == "" {
			t.Errorf("status when back: %+v", s)
		}
	})
}

// TestAwayAtTheStart: nothing is delivered before the catalogue has been read.
func TestAwayAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatalogue()
		c.down = errors.New("connection refused")
		w := watchOf(t, c, 0)
		defer w.stop()
		w.after(time.Hour)
		c.change(func() { c.down = nil })
		w.after(backoffMost, "") // one delta, with nothing in it
	})
}

// TestServersBeginAnew: servers that lost their data do not take the services away before these had time to register again.
func TestServersBeginAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatalogue("a", "b", "c")
		w := watchOf(t, c, 0)
		defer w.stop()
		c.put("a", 2) // beyond the index that the servers will begin with
		w.after(0, "a=2 b=1 c=1")
		c.change(func() { c.down = errors.New("connection refused") })
		w.after(time.Minute)
		c.anew()
		c.change(func() { c.down = nil })
		w.after(backoffMost)
		c.put("b", 4)
		w.after(time.Second, "b=4")
		w.after(keepTime, "-a -c")
		c.put("a", 1)
		w.after(time.Second, "a=1")
		c.remove("b")
		w.after(time.Second, "-b") // at once again
	})
}

// TestHangingServer: a server that takes queries and answers none is noticed.
func TestHangingServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatalogue("a")
		w := watchOf(t, c, 0)
		defer w.stop()
		w.after(0, "a=1")
		c.change(func() { c.hang = true })
		w.after(3 * time.Minute)
		if s := w.w.Status(); s.Connected || !strings.Contains(s.LastError, "no answer within") {
			t.Errorf("status %+v", s)
		}
		c.change(func() { c.hang = false })
		c.put("a", 2)
		w.after(time.Minute, "a=2")
	})
}

// TestOneServiceThatCannotBeRead holds back neither the first delta nor the others.
func TestOneServiceThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatalogue("a", "bad")
		w := &watched{t: t, w: New(Options{Registry: "Test", Name: "test", Catalog: failing{c}})}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- w.w.Run(ctx, func(d Delta) { w.mu.Lock(); w.deltas = append(w.deltas, text(d)); w.mu.Unlock() })
		}()
		defer func() { cancel(); <-done }()
		w.after(firstTime - time.Second) // it may still come
		w.after(2*time.Second, "a=1")
		c.put("a", 2)
		w.after(time.Second, "a=2")
		if s := w.w.Status(); !s.Connected || s.Failing["bad"] != "broken" {
			t.Errorf("status %+v", s)
		}
	})
}

type failing struct{ *catalogue }

func (f failing) Service(ctx context.Context, name string, q Query) (Service, error) {
	if name == "bad" {
		return Service{}, errors.New("broken")
	}
	return f.catalogue.Service(ctx, name, q)
}

// TestMoreServicesThanSlots: services take turns, and each change is seen within the rotation.
func TestMoreServicesThanSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for i := range 200 {
			names = append(names, fmt.Sprintf("s%03d", i))
		}
		c := newCatalogue(names...)
		w := watchOf(t, c, 20)
		defer w.stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		w.mu.Lock()
		w.deltas = nil
		w.mu.Unlock()
		for _, name := range []string{"s000", "s123", "s199"} {
			c.put(name, 7)
			w.after(rotation+rotation/2, name+"=7")
		}
		c.change(func() { clear(c.reads) })
		w.after(time.Minute)
		c.mu.Lock()
		n, most := c.reads["s000"], c.most
		c.mu.Unlock()
		if n < 10 || n > 14 {
			t.Errorf("a service was read %d times in a minute, want about 12", n)
		}
		if most > 20 {
			t.Errorf("%d queries waited at one time, want at most 20", most)
		}
	})
}

// TestManyServicesAtOnce: services that wait give up their slots when many more come.
func TestManyServicesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatalogue()
		for i := range 20 {
			c.put(fmt.Sprintf("a%03d", i), 1)
		}
		w := watchOf(t, c, 20)
		defer w.stop()
		time.Sleep(time.Minute)
		for i := range 180 {
			c.put(fmt.Sprintf("b%03d", i), 1)
		}
		time.Sleep(2 * rotation)
		synctest.Wait()
		w.mu.Lock()
		w.deltas = nil
		w.mu.Unlock()
		c.put("b150", 7)
		w.after(rotation+rotation/2, "b150=7")
	})
}

// TestWarning: a token that may suddenly read nothing does not take the services away at once.
func TestWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatalogue("a", "b")
		w := watchOf(t, c, 0)
		defer w.stop()
		w.after(0, "a=1 b=1")
		c.change(func() { c.warning = "may not read all" })
		c.remove("b")
		w.after(keepTime / 2)
		if s := w.w.Status(); s.Warning != "may not read all" {
			t.Errorf("status %+v", s)
		}
		w.after(keepTime, "-b")
		c.remove("a") // the warning is an old one
		w.after(time.Second, "-a")
	})
}

func TestBackoff(t *testing.T) {
	var c cursor
	for i, want := range []time.Duration{125, 250, 500, 1000, 2000, 4000, 7500, 7500} {
		if got := c.fail(0); got != want*time.Millisecond {
			t.Errorf("failure %d: pause of %v, want %v", i+1, got, want*time.Millisecond)
		}
	}
	if got := c.fail(1); got != backoffMost {
		t.Errorf("the longest pause is %v", got)
	}
	c.answer(5, time.Now())
	if got := c.fail(1); got != backoffFirst {
		t.Errorf("after an answer the longest pause is %v", got)
	}
}

func TestIndex(t *testing.T) {
	now := time.Now()
	c := cursor{}
	for _, step := range []struct {
		got, next uint64
		back      bool
	}{{7, 7, false}, {7, 7, false}, {9, 9, false}, {4, 0, true}, {4, 4, false}, {0, 0, true}, {0, 1, false}, {0, 1, false}, {3, 3, false}} {
		now = now.Add(time.Second)
		_, back := c.answer(step.got, now)
		if c.index != step.next || back != step.back {
			t.Errorf("answer %d: next index %d, back %v; want %d, %v", step.got, c.index, back, step.next, step.back)
		}
	}
	c.fail(0)
	if c.index != 0 {
		t.Error("after a failure the next query waits for an index of before")
	}
}
