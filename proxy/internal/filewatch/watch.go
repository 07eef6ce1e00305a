package filewatch

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Watcher reports moves in one directory.
type Watcher struct {
	dir  string
	name string // "": any
	file *os.File
}

// File watches for a move onto a file.
func File(path string) (*Watcher, error) {
	return open(filepath.Dir(path), filepath.Base(path))
}

// Directory watches for any move into a directory.
func Directory(path string) (*Watcher, error) { return open(path, "") }

func open(dir, name string) (*Watcher, error) {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: inotify_init1: %w; raise fs.inotify.max_user_instances", dir, err)
	}
	if _, err := syscall.InotifyAddWatch(fd, dir, syscall.IN_MOVED_TO|syscall.IN_ONLYDIR); err != nil {
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("watch %s: inotify_add_watch: %w", dir, err)
	}
	return &Watcher{dir: dir, name: name, file: os.NewFile(uintptr(fd), "inotify "+dir)}, nil
}

// Run calls moved after each move, from its own goroutine, until ctx ends. Moves that come while
// moved runs are reported once. A Watcher runs once.
func (w *Watcher) Run(ctx context.Context, moved func()) error {
	defer w.file.Close()
	// Closing the file makes a read that waits return.
	defer context.AfterFunc(ctx, func() { _ = w.file.Close() })()
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch %s: %w", w.dir, err)
		}
		if w.concerns(buf[:n]) {
			moved()
		}
	}
}

// Close frees a Watcher that is never run.
func (w *Watcher) Close() { _ = w.file.Close() }

// concerns reports whether one of the events is about the watched name. The kernel writes whole
// events: a fixed head, then a name that is filled up with zeros.
func (w *Watcher) concerns(events []byte) bool {
	for len(events) >= syscall.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(events[4:])
		size := int(binary.NativeEndian.Uint32(events[12:]))
		events = events[syscall.SizeofInotifyEvent:]
		if size > len(events) {
			return true
		}
		name := string(bytes.TrimRight(events[:size], "\x00"))
		events = events[size:]
		if mask&syscall.IN_Q_OVERFLOW != 0 { // events were lost: it may have been the one
			return true
		}
		if mask&syscall.IN_MOVED_TO != 0 && (w.name == "" || name == w.name) {
			return true
		}
	}
	return false
}
