package localmesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/workload"
)

// stopTimeout is longer than the supervisor's grace for its processes.
const stopTimeout = 15 * time.Second

// Detach starts `lateen COMMAND`, which args begin with, in a session of its own and returns when its mesh serves, with its table written to out. An error of the
// start is the one returned.
func Detach(ctx context.Context, executable string, args []string, stateDir string, out io.Writer) error {
	command := args[0]
	if err := os.MkdirAll(filepath.Join(stateDir, "logs"), 0o755); err != nil {
		return fmt.Errorf("state folder: %w; choose another with --state-dir", err)
	}
	logPath := filepath.Join(stateDir, "logs", command+".out")
	if _, err := holder(stateDir); err == nil {
		return runsAlready(stateDir, command) // whose log it is
	}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("log of the mesh: %w", err)
	}
	defer log.Close()
	ready, readyWriter, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	defer ready.Close()
	cmd := exec.Command(executable, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{readyWriter} // descriptor 3, see ReadyPipe
	cmd.Env = append(os.Environ(), readyVariable+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	readyWriter.Close()
	if err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	said := make(chan []byte, 1)
	go func() {
		// The end of the pipe without a word means that the mesh has ended.
		raw, _ := io.ReadAll(ready)
		said <- raw
	}()
	select {
	case raw := <-said:
		if len(raw) > 0 {
			_, err := out.Write(raw)
			return err
		}
		waitErr := cmd.Wait()
		text, readErr := os.ReadFile(logPath)
		if readErr != nil || len(bytes.TrimSpace(text)) == 0 {
			return fmt.Errorf("`lateen %s` ended before it served: %v; see %s", command, waitErr, logPath)
		}
		return errors.New(strings.TrimPrefix(strings.TrimSpace(string(text)), "Error: "))
	case <-ctx.Done():
		// Interrupted while it starts: nothing stays behind.
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return fmt.Errorf("end the mesh that was starting: %w", err)
		}
		_ = cmd.Wait() // it was told to end; how does not matter
		<-said
		return ctx.Err()
	}
}

// readyVariable names the descriptor on which a detached mesh says that it serves.
const readyVariable = "LATEEN_READY_FD"

// ReadyPipe returns where a detached mesh writes its table, nil for one in the foreground. Closing it tells who
// detached it that the mesh serves.
func ReadyPipe() (*os.File, error) {
	text := os.Getenv(readyVariable)
	if text == "" {
		return nil, nil
	}
	if err := os.Unsetenv(readyVariable); err != nil { // not for the mesh's processes
		return nil, err
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%s=%q is no descriptor", readyVariable, text)
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "ready"), nil
}

// Stop ends the mesh of a state folder and returns when all its processes have ended. The error is ErrNotRunning, wrapped, when there
// is none.
func Stop(ctx context.Context, stateDir string) error {
	pid, err := holder(stateDir)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	return Until(ctx, func(context.Context) error {
		_, err := holder(stateDir)
		switch {
		case errors.Is(err, ErrNotRunning):
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("process %d has not ended yet; end it with `kill -9 %d`, its processes end with it", pid, pid)
	})
}

// ProcessStatus is one line of `lateen demo status` and `lateen up status`.
type ProcessStatus struct {
	Name string
	PID  int
	// State is "ready", "running" (it has no way to say more), "not ready" or "restarting".
	State string
	Log   string
}

// Status asks every process of a running mesh how it is.
func Status(ctx context.Context, stateDir string) (*runfile.Run, []ProcessStatus, error) {
	run, err := runfile.Read(stateDir)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	checks := map[string]string{"control-plane": "http://" + run.Debug + "/ready"}
	for _, p := range run.Proxies {
		checks[workload.ProxyProcess(p.Type, p.Name)] = "http://" + p.Admin + "/ready"
	}
	listens := map[string]string{}
	for _, a := range run.Apps {
		if a.Address != "" {
			listens[a.Name] = a.Address
		}
	}
	var out []ProcessStatus
	for _, p := range run.Processes {
		st := ProcessStatus{Name: p.Name, PID: p.PID, State: "running", Log: p.Log}
		url, checked := checks[p.Name]
		address, served := listens[p.Name]
		switch {
		case p.PID == 0:
			st.State = "restarting"
		case served && Accepts(ctx, address) == nil:
			st.State = "ready"
		case checked && answers(ctx, url, "") == nil:
			st.State = "ready"
		case checked, served:
			st.State = "not ready"
		}
		out = append(out, st)
	}
	return run, out, nil
}
