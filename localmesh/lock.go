package localmesh

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrNotRunning says that nobody holds the state folder's lock.
var ErrNotRunning = errors.New("no mesh runs")

// lock is held by the one supervisor of a state folder. The kernel releases it when the holder ends, however it ends.
type lock struct{ file *os.File }

func lockPath(stateDir string) string { return filepath.Join(stateDir, "mesh.lock") }

// acquire takes the lock, or says who has it.
func acquire(stateDir, command string) (*lock, error) {
	f, err := os.OpenFile(lockPath(stateDir), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, runsAlready(stateDir, command)
		}
		return nil, fmt.Errorf("lock the state folder: %w", err)
	}
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock the state folder: %w", err)
		}
	}
	return &lock{f}, nil
}

func runsAlready(stateDir, command string) error {
	pid, _ := readPID(stateDir) // 0 while it is being written
	return fmt.Errorf("a mesh runs already in %s (process %d): end it with `lateen %s stop`, or use another folder with --state-dir", stateDir, pid, command)
}

func (l *lock) release() { l.file.Close() }

// holder returns the process that holds the lock; ErrNotRunning when none does.
func holder(stateDir string) (int, error) {
	f, err := os.OpenFile(lockPath(stateDir), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("%w in %s", ErrNotRunning, stateDir)
	}
	if err != nil {
		return 0, fmt.Errorf("look at the lock: %w", err)
	}
	defer f.Close()
	// A shared lock fails while the exclusive one is held, and two that look at once do not see each other.
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil {
		return 0, fmt.Errorf("%w in %s", ErrNotRunning, stateDir)
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return 0, fmt.Errorf("look at the lock: %w", err)
	}
	return readPID(stateDir)
}

func readPID(stateDir string) (int, error) {
	raw, err := os.ReadFile(lockPath(stateDir))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("%s holds no process id", lockPath(stateDir))
	}
	return pid, nil
}
