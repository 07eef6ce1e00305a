package file

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
)

// Options say what is read. Dir is required.
type Options struct {
	// Dir is the root of the tree. It is made when missing. Files ending in .yaml, .yml and .json anywhere below it are read; names that begin
	// with a dot are not.
	Dir string
	// MeshFile is the file of the mesh configuration, which need not exist; "" for none. It must not be below Dir.
	MeshFile string
	// Accept returns why a kind does not belong into this store, nil when it does. Default: every kind belongs.
	Accept func(*schema.Kind) error
	// Rescan is how often the tree is looked at even when the file system reports nothing. Default 5 s, and 1 s where it cannot report; less often,
	// a minute at most, when the tree is so large that looking at it takes a while.
	Rescan time.Duration
	// Logger gets a line for each mistake that appears and each that is gone. Default: none.
	Logger *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Store watches one tree. Make one with New; Run does the work.
type Store struct {
	opts Options
	log  *slog.Logger

	// Of Run's goroutine alone.
	files    map[string]*entry // by path
	mesh     *entry
	meshGood string // version of the mesh configuration in force
	meshSent bool
	// suspects are paths that the file system has named; true for those that are, or were when they were looked at, being written in place.
	suspects map[string]bool
	// unsettled gathers, during a scan, the files that are being written; started is set after the first scan, which reads all as it is.
	unsettled map[string]bool
	started   bool
	// missing are files that the last scan did not find, and when they were first missed.
	missing map[string]time.Time
	// failed are files and folders that could not be read when they were looked at last, by path.
	failed map[string]error
	// givers are the files that each object is in, by path; the first counts. twice are the objects in more than one, kept those whose last good
	// form is in force, and wrong the files with mistakes.
	givers map[config.Key][]giver
	twice  map[config.Key]bool
	kept   map[config.Key]bool
	wrong  map[string]bool

	mu       sync.Mutex // guards what other goroutines read; Run's alone changes it
	objects  map[config.Key]*config.Object
	mistakes []configstore.Mistake
	number   uint64
	// meshVersion is that of the mesh configuration in force.
	meshVersion string
}

// New returns a store that has read nothing yet.
func New(opts Options) *Store {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Store{
		opts: opts, log: opts.Logger, files: map[string]*entry{}, suspects: map[string]bool{}, unsettled: map[string]bool{},
		givers: map[config.Key][]giver{}, twice: map[config.Key]bool{}, kept: map[config.Key]bool{}, wrong: map[string]bool{},
		objects: map[config.Key]*config.Object{},
	}
}

// Run reads the tree, delivers everything in a first batch (which may be empty), and then each change, within a moment of its being written,
// until ctx ends. sink is called on Run's goroutine. The error is one of starting: the folder cannot be made or read.
func (s *Store) Run(ctx context.Context, sink func(configstore.Batch)) error {
	if err := os.MkdirAll(s.opts.Dir, 0o755); err != nil {
		return fmt.Errorf("config store: %w", err)
	}
	if _, err := os.ReadDir(s.opts.Dir); err != nil {
		return fmt.Errorf("config store: %w", err)
	}
	w := newWatcher(s.opts.Dir, s.opts.MeshFile, s.log)
	defer w.close()
	rescan := s.opts.Rescan
	if rescan <= 0 {
		rescan = 5 * time.Second
		if w.deaf() {
			rescan = time.Second
		}
	}
	all := func() configstore.Batch {
		w.follow() // before reading: what changes while it is read is seen again
		return s.scan()
	}
	begin := time.Now()
	sink(all())
	tick := time.NewTimer(rest(rescan, time.Since(begin)))
	defer tick.Stop()
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		if len(s.suspects)+len(s.missing) > 0 {
			again.Reset(settling)
		}
		due := false
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil
		case <-tick.C:
			due = true
		case e := <-w.events():
			s.suspects[e.path] = e.written // of a path the last event counts: a file that has taken another's place is complete
			w.settle(ctx, s.suspects)
		}
		var b configstore.Batch
		if paths, known := s.named(w.watches); known && !due {
			b = s.scanNamed(paths)
		} else {
			begin := time.Now()
			b = all()
			tick.Reset(rest(rescan, time.Since(begin)))
		}
		if !b.Empty() {
			sink(b)
		}
	}
}

// rest is how long to wait until the tree is looked at again, after a look that took so long: in a large tree it is done less often, so that
// it never takes more than a two-hundredth of a processor.
func rest(rescan, took time.Duration) time.Duration {
	return min(max(rescan, 200*took), max(rescan, mostRest))
}

// mostRest bounds what rest answers.
const mostRest = time.Minute

// Objects returns what is in force, by key.
func (s *Store) Objects() []*config.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*config.Object, 0, len(s.objects))
	for _, o := range s.objects {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b *config.Object) int { return configstore.CompareKeys(a.Key(), b.Key()) })
	return out
}

// State returns what is in force.
func (s *Store) State() configstore.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return configstore.State{Number: s.number, Objects: maps.Clone(s.objects), MeshVersion: s.meshVersion}
}

// Mistakes returns what is wrong in the files now, by file and line.
func (s *Store) Mistakes() []configstore.Mistake {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mistakes)
}

// isConfig says whether a file name is one that the store reads.
func isConfig(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}
