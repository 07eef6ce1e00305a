package proxycmd

import (
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/lateen-mesh/lateen/proxy"
)

// logFile is the file of --log-path; a rotation may move it away and have it opened anew.
type logFile struct {
	path string
	mu   sync.Mutex
	f    *os.File
}

func openLogFile(path string) (*logFile, error) {
	l := &logFile{path: path}
	return l, l.Reopen()
}

// Reopen opens the file again; the old one stays when that fails.
func (l *logFile) Reopen() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("--log-path: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		_ = l.f.Close()
	}
	l.f = f
	return nil
}

// Write appends.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Write(b)
}

// logger makes what the log flags ask for; it returns what opens the log anew, nil without a file.
func (f *flags) logger() (*slog.Logger, func() error, error) {
	var out interface{ Write([]byte) (int, error) } = os.Stderr
	var reopen func() error
	if f.logPath != "" {
		file, err := openLogFile(f.logPath)
		if err != nil {
			return nil, nil, err
		}
		out, reopen = file, file.Reopen
	}
	if f.logFormat == "" {
		return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: proxy.LowestLevel})), reopen, nil
	}
	h, err := newPatternHandler(out, f.logFormat, f.logEscaped)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(h), reopen, nil
}
