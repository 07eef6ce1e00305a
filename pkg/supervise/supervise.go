package supervise

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Process is what to run.
type Process struct {
	// Name identifies the process in logs and statuses; unique in its supervisor.
	Name string
	// Path of the program, and its arguments without the program's name.
	Path string
	Args []string
	// Dir is the folder that it runs in; "" is the supervisor's own.
	Dir string
	// Env is the whole environment, as in os/exec; nil means the supervisor's own.
	Env []string
	// Log is the file that gets standard output and error, appended to.
	Log string
	// Await, when set, is called before each start, which it holds back until it returns. Its ctx ends when the process is not wanted any more.
	Await func(ctx context.Context)
}

// Status is where one process is in its life.
type Status struct {
	Name string
	// PID is 0 while the process waits to be started again.
	PID int
	Log string
	// Restarts counts the starts after the first.
	Restarts int
	// LastEnd tells how the process last ended; empty when it has not.
	LastEnd string
}

// Config of a Supervisor.
type Config struct {
	Logger *slog.Logger
	Policy Policy
	// Grace is how long a process may take to end after SIGTERM before its group is killed. Default 5 s.
	Grace time.Duration
	// OnChange, when set, is called with all statuses, in the order in which the processes were added, after each start and each
	// end. Calls do not overlap.
	OnChange func([]Status)

	spawn spawner // replaced by tests
}

// Supervisor runs processes. Add may be called before Run and while it runs, Remove while it runs.
type Supervisor struct {
	cfg Config

	mu    sync.Mutex
	tasks []*task // in the order in which they were added
	queue []*task // added, not yet taken by Run
	wake  chan struct{}

	notify sync.Mutex // held during OnChange
}

// child is a started process.
type child interface {
	PID() int
	// Wait returns when the process has ended, and tells how.
	Wait() error
	// Signal sends a signal to the process and to its group.
	Signal(syscall.Signal) error
}

// spawner starts processes. Starts happen on the goroutine that calls run, because Linux ties "end with your parent" to the thread
// that started the child.
type spawner interface {
	// run serves start until ctx ends.
	run(ctx context.Context)
	start(Process) (child, error)
}

// New returns a supervisor that has started nothing.
func New(cfg Config) *Supervisor {
	cfg.Policy = cfg.Policy.withDefaults()
	if cfg.Grace <= 0 {
		cfg.Grace = 5 * time.Second
	}
	if cfg.spawn == nil {
		cfg.spawn = newThreadSpawner()
	}
	return &Supervisor{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Add has a process run from now on.
func (s *Supervisor) Add(p Process) {
	t := &task{process: p, status: Status{Name: p.Name, Log: p.Log}, removed: make(chan struct{}), done: make(chan struct{})}
	s.mu.Lock()
	s.tasks = append(s.tasks, t)
	s.queue = append(s.queue, t)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default: // Run has a wake-up waiting already
	}
}

// Remove ends the process of that name as the end of Run would, forgets it, and returns when it has ended. A name that is not known is no error.
func (s *Supervisor) Remove(name string) {
	s.mu.Lock()
	i := slices.IndexFunc(s.tasks, func(t *task) bool { return t.process.Name == name })
	if i < 0 {
		s.mu.Unlock()
		return
	}
	t := s.tasks[i]
	s.tasks = slices.Delete(s.tasks, i, i+1)
	if at := slices.Index(s.queue, t); at >= 0 { // never started
		s.queue = slices.Delete(s.queue, at, at+1)
		close(t.done)
	}
	s.mu.Unlock()
	close(t.removed)
	<-t.done
	s.change(func() {})
}

// Run starts what was added and keeps it running until ctx ends. It returns when every process has ended.
func (s *Supervisor) Run(ctx context.Context) error {
	// The spawner outlives the processes: on Linux they die with its thread.
	spawnCtx, stopSpawner := context.WithCancel(context.WithoutCancel(ctx))
	var spawning, running sync.WaitGroup
	spawning.Go(func() { s.cfg.spawn.run(spawnCtx) })
	defer func() {
		running.Wait()
		stopSpawner()
		spawning.Wait()
	}()
	for {
		for _, t := range s.take() {
			running.Go(func() {
				defer close(t.done)
				own, cancel := context.WithCancel(ctx)
				var removal sync.WaitGroup
				defer removal.Wait()
				defer cancel()
				removal.Go(func() {
					select {
					case <-t.removed:
						cancel()
					case <-own.Done():
					}
				})
				s.keep(own, t.process, &t.status)
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
	}
}

// task is one process from Add to its end. The supervisor's mu guards the status.
type task struct {
	process Process
	status  Status
	removed chan struct{} // closed by Remove
	done    chan struct{} // closed when it will not run again
}

func (s *Supervisor) take() []*task {
	s.mu.Lock()
	defer s.mu.Unlock()
	tasks := s.queue
	s.queue = nil
	return tasks
}

// Statuses returns a copy of all statuses, in the order in which the processes were added.
func (s *Supervisor) Statuses() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Status, 0, len(s.tasks))
	for _, t := range s.tasks {
		all = append(all, t.status)
	}
	return all
}

// keep runs one process, again and again, until ctx ends.
func (s *Supervisor) keep(ctx context.Context, p Process, st *Status) {
	var back backoff
	for starts := 0; ctx.Err() == nil; starts++ {
		begun := time.Now()
		err := s.once(ctx, p, st, starts)
		if ctx.Err() != nil {
			return
		}
		wait := back.ended(s.cfg.Policy, time.Since(begun))
		s.cfg.Logger.Warn("process ended; starting it again", "process", p.Name, "ended", ended(err), "wait", wait, "log", p.Log)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// once runs the process to its end; when ctx ends first it asks it to end, and after the grace kills its group.
func (s *Supervisor) once(ctx context.Context, p Process, st *Status, starts int) error {
	if p.Await != nil {
		if p.Await(ctx); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	c, err := s.cfg.spawn.start(p)
	if err != nil {
		err = fmt.Errorf("start %s: %w", p.Name, err)
		s.change(func() { st.LastEnd = err.Error() })
		return err
	}
	s.change(func() { st.PID, st.Restarts = c.PID(), starts })
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()

	select {
	case err = <-done:
	case <-ctx.Done():
		err = s.end(c, p, done)
	}
	s.change(func() { st.PID, st.LastEnd = 0, ended(err) })
	return err
}

func (s *Supervisor) end(c child, p Process, done <-chan error) error {
	s.signal(c, p, syscall.SIGTERM)
	timer := time.NewTimer(s.cfg.Grace)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		s.cfg.Logger.Warn("process did not end when asked; killing it", "process", p.Name, "waited", s.cfg.Grace)
		s.signal(c, p, syscall.SIGKILL)
		return <-done
	}
}

func (s *Supervisor) signal(c child, p Process, sig syscall.Signal) {
	if err := c.Signal(sig); err != nil {
		s.cfg.Logger.Debug("signal not delivered", "process", p.Name, "signal", sig, "error", err)
	}
}

// change alters statuses under the lock, then tells OnChange.
func (s *Supervisor) change(alter func()) {
	s.notify.Lock()
	defer s.notify.Unlock()
	s.mu.Lock()
	alter()
	s.mu.Unlock()
	if s.cfg.OnChange != nil {
		s.cfg.OnChange(s.Statuses())
	}
}

func ended(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}
