package accesslog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

const (
	// flushInterval is how long a line waits in memory at most, unless told otherwise.
	flushInterval = time.Second
	// flushSize is how much waits before it is written at once, unless told otherwise; Envoy's.
	flushSize = 64 << 10
	// maxBuffered bounds what waits for a slow disk, per file; lines beyond it are dropped.
	maxBuffered = 4 << 20
	// MaxFlushSize is the most that Files.FlushSize may be.
	MaxFlushSize = maxBuffered / 2
)

// Files are the open log files of a process, shared by path.
type Files struct {
	// FlushInterval is how long a line waits in memory at most; set it before Run. Default 1 s.
	FlushInterval time.Duration
	// FlushSize is how many bytes wait before they are written at once, no more than MaxFlushSize; set it before Run. Default 64 KiB.
	FlushSize int

	log  *slog.Logger
	main stats.Main

	writeBuffered, writeCompleted, writeFailed, dropped stats.Counter
	flushedByTimer, reopenFailed                        stats.Counter

	mu    sync.Mutex
	files map[string]*File
	wake  chan struct{}
}

// NewFiles returns an empty set. Nothing reaches a disk before Run.
func NewFiles(store *stats.Store, log *slog.Logger) *Files {
	s := store.Scope("filesystem")
	return &Files{
		FlushInterval: flushInterval, FlushSize: flushSize,
		log: log, main: store.Main(), files: make(map[string]*File), wake: make(chan struct{}, 1),
		writeBuffered: s.Counter("write_buffered"), writeCompleted: s.Counter("write_completed"),
		writeFailed: s.Counter("write_failed"), dropped: s.Counter("write_dropped"),
		flushedByTimer: s.Counter("flushed_by_timer"), reopenFailed: s.Counter("reopen_failed"),
	}
}

// File is one log file. Its methods may be called from any goroutine.
type File struct {
	set  *Files
	path string

	mu   sync.Mutex
	buf  []byte
	lost uint64 // lines dropped since the last flush

	io     sync.Mutex // held while writing, closing and replacing out
	out    io.WriteCloser
	std    bool // the process's own output: never closed or reopened
	spare  []byte
	failed bool // the last write failed; logged once
	refs   int  // Files.mu
}

// Open returns the file of a path, opened for appending and made when it is missing.
// "/dev/stdout" and "/dev/stderr" are the process's own outputs. Close it when done.
func (s *Files) Open(path string) (*File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[path]
	if f == nil {
		f = &File{set: s, path: path}
		switch path {
		case "/dev/stdout":
			f.out, f.std = os.Stdout, true
		case "/dev/stderr":
			f.out, f.std = os.Stderr, true
		default:
			out, err := openLog(path)
			if err != nil {
				return nil, err
			}
			f.out = out
		}
		s.files[path] = f
	}
	f.refs++
	return f, nil
}

func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	return f, nil
}

// Close gives the file back; it is flushed and closed when nobody has it any more.
func (f *File) Close() {
	f.set.mu.Lock()
	f.refs--
	f.set.mu.Unlock()
	f.set.signal()
}

// Write takes a line (copied). It never blocks on the disk.
func (f *File) Write(line []byte) {
	f.mu.Lock()
	n := len(f.buf)
	if n+len(line) > maxBuffered {
		f.lost++
		f.mu.Unlock()
		return
	}
	f.buf = append(f.buf, line...)
	f.mu.Unlock()
	if n == 0 || n < f.set.FlushSize && n+len(line) >= f.set.FlushSize {
		f.set.signal()
	}
}

func (s *Files) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Reopen closes and opens every file, after a rotation moved them away (SIGUSR1, and
// Envoy's POST /reopen_logs). A file that cannot be opened keeps its old one.
func (s *Files) Reopen() error {
	var first error
	for _, f := range s.snapshot() {
		if f.std {
			continue
		}
		out, err := openLog(f.path)
		if err != nil {
			s.main.Inc(s.reopenFailed)
			if first == nil {
				first = err
			}
			continue
		}
		f.io.Lock()
		old := f.out
		f.out = out
		f.io.Unlock()
		if err := old.Close(); err != nil && first == nil {
			first = fmt.Errorf("access log: %w", err)
		}
	}
	return first
}

func (s *Files) snapshot() []*File {
	s.mu.Lock()
	defer s.mu.Unlock()
	fs := make([]*File, 0, len(s.files))
	for _, f := range s.files {
		fs = append(fs, f)
	}
	return fs
}

// Run writes until ctx ends; then it writes what is left and closes all files.
func (s *Files) Run(ctx context.Context) error {
	timer := time.NewTimer(s.FlushInterval)
	timer.Stop()
	defer timer.Stop()
	armed := false
	for {
		select {
		case <-ctx.Done():
			s.flushAll(0)
			s.closeAll()
			return nil
		case <-s.wake:
			if s.flushAll(s.FlushSize) && !armed {
				armed = true
				timer.Reset(s.FlushInterval)
			}
		case <-timer.C:
			armed = false
			s.main.Inc(s.flushedByTimer)
			s.flushAll(0)
		}
	}
}

// flushAll writes every file that has at least that much; it reports whether any still has
// something.
func (s *Files) flushAll(atLeast int) (left bool) {
	for _, f := range s.snapshot() {
		s.mu.Lock()
		unused := f.refs <= 0
		if unused {
			delete(s.files, f.path)
		}
		s.mu.Unlock()
		if unused {
			f.flush(0)
			f.closeOut()
			continue
		}
		left = f.flush(atLeast) || left
	}
	return left
}

func (s *Files) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, f := range s.files {
		f.closeOut()
		delete(s.files, path)
	}
}

func (f *File) closeOut() {
	if f.std {
		return
	}
	f.io.Lock()
	defer f.io.Unlock()
	if err := f.out.Close(); err != nil {
		f.set.log.Warn("cannot close access log", "path", f.path, "error", err)
	}
}

// flush writes what is buffered; only Run calls it.
func (f *File) flush(atLeast int) (left bool) {
	f.mu.Lock()
	if len(f.buf) == 0 || len(f.buf) < atLeast {
		left = len(f.buf) > 0
		f.mu.Unlock()
		return left
	}
	b := f.buf
	f.buf = f.spare[:0]
	lost := f.lost
	f.lost = 0
	f.mu.Unlock()

	s := f.set
	s.main.Inc(s.writeBuffered)
	f.io.Lock()
	_, err := f.out.Write(b)
	f.io.Unlock()
	if err != nil {
		s.main.Inc(s.writeFailed)
		if !f.failed {
			s.log.Error("cannot write access log", "path", f.path, "error", err)
		}
	} else {
		s.main.Inc(s.writeCompleted)
	}
	f.failed = err != nil
	if lost > 0 {
		s.main.Add(s.dropped, lost)
		s.log.Warn("access log lines dropped: the file is written too slowly", "path", f.path, "lines", lost)
	}
	// The larger of two buffers is not kept for ever after a burst.
	if cap(b) > 4*flushSize {
		b = nil
	}
	f.mu.Lock()
	f.spare = b
	f.mu.Unlock()
	return false
}
